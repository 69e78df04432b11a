//go:build linux

package attribution

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// deletedSuffix is what the kernel appends to the path of a file that is gone.
const deletedSuffix = " (deleted)"

// readExecutable fills in the executable's path, or why it does not count. An error
// passes.
func (r *Reader) readExecutable(dir *os.File, p *workload.Process) error {
	path, err := r.executable(dir)
	if passes(err) {
		return err
	}
	p.Executable = path
	if err != nil {
		p.ExecutableNote = err.Error()
	}
	return nil
}

// executable returns the path of the running file if it is a name that this host
// gives it, and otherwise an error that says what was seen.
//
// The kernel prints the path within whichever mounts the file was reached
// through, and an unprivileged user can make a namespace with a mount of his own
// over any path. So the path counts only if the file at that path, looked up by
// us, is the same file. A file that cannot be looked up, because a package was
// upgraded under a running program, because we see other mounts than the host does
// or because its file system may not answer, counts only where no other namespace had a part: the process is in
// PID 1's mount namespace, and so is the very mount that the file was reached
// through. The process alone is not enough, as anybody can execute a file out of
// another namespace through /proc/PID/root.
func (r *Reader) executable(dir *os.File) (string, error) {
	path, err := readlinkat(dir, "exe")
	if err != nil {
		return "", noExecutable(err)
	}
	exe, err := statAt(int(dir.Fd()), "exe")
	if err != nil {
		return "", noExecutable(err)
	}
	if exe.links == 0 {
		path = strings.TrimSuffix(path, deletedSuffix)
	} else {
		here, err := r.lookUp(path)
		if passes(err) {
			return "", err
		}
		if err == nil && here.sameAs(exe) {
			return path, nil
		}
		if strings.HasSuffix(path, deletedSuffix) {
			return "", fmt.Errorf("%s: this name of the file is gone, while it goes on under another; restart the program", path)
		}
	}
	if err := r.ofTheHost(dir, exe); err != nil {
		return "", fmt.Errorf("%s: does not count, as %w", path, err)
	}
	return path, nil
}

func noExecutable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("not permitted to look at the executable: %w", err)
	}
	return fmt.Errorf("the process has no executable: %w", err)
}

// ofTheHost returns nil if the process is in PID 1's mount namespace and reached
// its executable through a mount of that namespace. A mount has one id on the
// whole host, so the mount table of PID 1 tells: what a process has in another
// namespace are copies with other ids.
func (r *Reader) ofTheHost(dir *os.File, exe file) error {
	root, err := statAt(int(dir.Fd()), "root")
	if err != nil {
		return fmt.Errorf("its root folder cannot be looked at: %w", err)
	}
	ofHost, err := r.mounts.has(root.mount)
	if err != nil {
		return err
	}
	if !ofHost {
		return errors.New("it is another file there for this host, or one that is not asked for (FUSE, autofs), and the process is in a mount namespace of its own")
	}
	if ofHost, err = r.mounts.has(exe.mount); err != nil {
		return err
	}
	if !ofHost {
		return errors.New("the file was reached through no mount of this host (memory, or another mount namespace)")
	}
	return nil
}
