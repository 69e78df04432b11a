//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

const (
	readyLimit    = 10 * time.Second
	readyInterval = 20 * time.Millisecond
	// stopLimit is how long a process gets between SIGTERM and SIGKILL.
	stopLimit = 5 * time.Second
	// logTail is how many lines of a process's log an error shows.
	logTail = 15
)

// child is the authority or the agent, as a process of its own.
type child struct {
	name  string
	log   string // file
	cmd   *exec.Cmd
	ended chan struct{}
	// told says that an error about its end has been returned already.
	told bool
}

// startChild starts a process in a cgroup. It has a process group of its own, so
// that Ctrl-C reaches the demo alone, which then stops it in order.
func startChild(name, cgroup, logFile string, cmd *exec.Cmd) (*child, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", name, err)
	}
	defer log.Close() // the process has its own
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := startIn(cgroup, cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &child{name: name, log: logFile, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its state is asked for where it matters
		close(c.ended)
	}()
	return c, nil
}

// startIn starts a command inside a cgroup.
func startIn(cgroup string, cmd *exec.Cmd) error {
	folder, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer folder.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(folder.Fd())
	return cmd.Start()
}

// waitReady waits until the URL answers 200 and returns what it answered.
func (c *child) waitReady(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		body, err := fetch(ctx, url)
		if err == nil {
			return body, nil
		}
		select {
		case <-c.ended:
			c.told = true
			return "", fmt.Errorf("%s ended (%v); its log ends with:\n%s", c.name, c.cmd.ProcessState, c.tail())
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s to be ready: %w; its log ends with:\n%s", c.name, errors.Join(ctx.Err(), err), c.tail())
		case <-time.After(readyInterval):
		}
	}
}

// stop ends the process: asked first, and by force when it does not.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.ended
		return fmt.Errorf("stop %s: still running %v after SIGTERM; killed", c.name, stopLimit)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 && !c.told {
		return fmt.Errorf("stop %s: it ended with %v; its log ends with:\n%s", c.name, c.cmd.ProcessState, c.tail())
	}
	return nil
}

func (c *child) tail() string {
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}

// fetch gets a small text over HTTP.
func fetch(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: serverurl.WithoutUpgrade(&http.Transport{DisableKeepAlives: true})}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := readSmall(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, strings.TrimSpace(body))
	}
	return body, err
}

// serviceEnvironment is the machine's own environment without settings of the
// product or of OpenTelemetry, which would change the story, and with these.
func serviceEnvironment(settings []string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		for _, prefix := range []string{"LANYARD_", "MIM_", "OTEL_"} {
			if strings.HasPrefix(variable, prefix) {
				return true
			}
		}
		return false
	})
	return append(kept, settings...)
}

// clientEnvironment is what the plain programs run with: no proxy and no
// configuration file of the user's.
func clientEnvironment(folder string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(folder, "home"), "LC_ALL=C"}
}
