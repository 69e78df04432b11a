package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/probe"
)

// uninstallAgent removes what an agent's instance left in the kernel, and with purge its
// own files of the state folder. It says what before it does it.
func uninstallAgent(ctx context.Context, settings agent.Settings, purge bool, stdout io.Writer) error {
	err := uninstallPins(settings, stdout)
	if err != nil || !purge {
		return err
	}
	files, err := agent.StateFiles(settings.StateDir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Fprintf(stdout, "no keys or enrolments of the agent are in %s\n", settings.StateDir)
		return nil
	}
	fmt.Fprintf(stdout, "removing from %s:\n", settings.StateDir)
	for _, file := range files {
		fmt.Fprintf(stdout, "  %s\n", file)
	}
	if err := agent.RemoveState(ctx, settings.StateDir); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "removed: each identity needs a fresh ticket to enrol again")
	return nil
}

func uninstallPins(settings agent.Settings, stdout io.Writer) (err error) {
	left, err := probe.FindInstallation(settings.BPFFS, settings.Instance)
	if errors.Is(err, probe.ErrRunning) {
		return fmt.Errorf("uninstall: %w; stop it first, with systemctl stop, docker stop, or SIGTERM to the process", err)
	}
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	if left == nil {
		fmt.Fprintf(stdout, "nothing of instance %s is in %s\n", settings.Instance, settings.BPFFS)
		return nil
	}
	defer func() { err = errors.Join(err, left.Close()) }()
	fmt.Fprintf(stdout, "removing %s: %d hooks and %d maps of instance %s\n", left.Folder, len(left.Hooks), left.Maps, settings.Instance)
	for _, hook := range left.Hooks {
		fmt.Fprintf(stdout, "  %s\n", hook)
	}
	if err := left.Remove(); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	fmt.Fprintln(stdout, "removed: every connection goes its own way")
	return nil
}
