//go:build linux

package attribution

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// silentFS are file systems that ask a process for each name. It may never answer,
// and who waits for FUSE's answer cannot even be killed: an agent that did would
// keep its listeners.
var silentFS = map[string]bool{"fuse": true, "fuseblk": true, "virtiofs": true, "autofs": true, "coda": true}

// maxLinks bounds the symbolic links of a path, as the kernel does.
const maxLinks = 40

// lookUp looks at the file that a path leads to from the agent's root, as stat
// does, but goes through no file system of silentFS. The path is a stranger's word.
func (r *Reader) lookUp(path string) (file, error) {
	w, err := r.newWalk()
	if err != nil {
		return file{}, err
	}
	defer w.close()
	names := strings.Split(path, "/")
	for links := 0; len(names) > 0; {
		name := names[0]
		names = names[1:]
		if name == "" || name == "." {
			continue
		}
		target, err := w.step(name)
		if err != nil {
			return file{}, fmt.Errorf("look up %s: %w", path, err)
		}
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return file{}, fmt.Errorf("look up %s: %w", path, unix.ELOOP)
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return w.at, nil
}

// walk is a path on its way.
type walk struct {
	r        *Reader
	root, fd int
	at       file // what fd is
}

func (r *Reader) newWalk() (*walk, error) {
	root, err := unix.Open(r.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root folder: %w", err)
	}
	w := &walk{r: r, root: root, fd: root}
	if w.at, err = statAt(root, ""); err != nil {
		w.close()
		return nil, fmt.Errorf("open the root folder: %w", err)
	}
	return w, nil
}

func (w *walk) close() {
	w.goTo(w.root)
	_ = unix.Close(w.root)
}

func (w *walk) goTo(fd int) {
	if w.fd != w.root {
		_ = unix.Close(w.fd)
	}
	w.fd = fd
}

// step goes on to a name in the folder. If that is a symbolic link, it stays, or
// returns to the root, and returns where the link leads.
func (w *walk) step(name string) (target string, err error) {
	fd, err := unix.Openat(w.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	next, err := statAt(fd, "")
	if err == nil && next.mode&unix.S_IFMT == unix.S_IFLNK {
		defer func() { _ = unix.Close(fd) }()
		return w.link(fd)
	}
	if err == nil && next.mount != w.at.mount {
		err = w.r.answers(next)
	}
	if err != nil {
		_ = unix.Close(fd)
		return "", err
	}
	w.goTo(fd)
	w.at = next
	return "", nil
}

func (w *walk) link(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	target := string(buf[:n])
	if strings.HasPrefix(target, "/") {
		w.goTo(w.root)
		w.at, err = statAt(w.root, "")
	}
	return target, err
}

// answers refuses the file systems of silentFS, and those that are not known.
func (r *Reader) answers(f file) error {
	fsType, err := r.here.typeOf(f)
	if err != nil {
		return err
	}
	if fsType, _, _ = strings.Cut(fsType, "."); r.silent[fsType] || fsType == "" {
		return errors.New("it is on a file system that may not answer, and is not asked")
	}
	return nil
}
