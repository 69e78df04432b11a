//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Place says where a program runs. The zero Place is where the test runs.
type Place struct {
	Cgroup *Cgroup
	Net    *NetNS
	// Files are files of the host (or folders) that look different to the program:
	// path on the host to the path of what stands there instead. They are
	// bind-mounted in a mount namespace of the program's own.
	Files map[string]string
	// User, when not nil, is whom the program runs as.
	User *syscall.Credential
}

// Start starts the command in this place.
func (p Place) Start(cmd *exec.Cmd) error {
	p.configure(cmd)
	if p.Net == nil && len(p.Files) == 0 {
		return cmd.Start()
	}
	// The child inherits the namespaces of the thread that starts it.
	return onDisposableThread(func() error {
		if p.Net != nil {
			if err := p.Net.enter(); err != nil {
				return err
			}
		}
		if err := coverFiles(p.Files); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// Output runs the command in this place and returns what it wrote to standard
// output and standard error together.
func (p Place) Output(cmd *exec.Cmd) (string, error) {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := p.Start(cmd); err != nil {
		return "", fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	err := cmd.Wait()
	return output.String(), err
}

func (p Place) configure(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if p.Cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(p.Cgroup.dir.Fd())
	}
	if p.User != nil {
		cmd.SysProcAttr.Credential = p.User
	}
}

// coverFiles gives the calling thread a mount namespace of its own in which each
// path shows another file.
func coverFiles(files map[string]string) error {
	if len(files) == 0 {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for path, instead := range files {
		if err := unix.Mount(instead, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s over %s: %w", instead, path, err)
		}
	}
	return nil
}
