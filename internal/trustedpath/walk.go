package trustedpath

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxLinks  = 40 // on one way, as the kernel has it
	maxTarget = 4096
)

// walker is on its way to a path. The folder that it has reached is open, and good;
// so are all above it.
type walker struct {
	owners owners
	dir    int      // descriptor of the folder
	at     string   // its path, without links
	rest   []string // components to go
	links  int      // followed so far
}

// start opens / for the way to a path.
func start(to string) (*walker, error) {
	if !filepath.IsAbs(to) {
		here, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		to = here + "/" + to // filepath.Join would take x/../y for y, which it is not where x is a link
	}
	w := &walker{owners: owners{uint32(os.Geteuid())}, dir: -1, at: "/", rest: components(to)}
	if err := w.restart(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func components(to string) []string {
	var all []string
	for name := range strings.SplitSeq(to, "/") {
		if name != "" && name != "." {
			all = append(all, name)
		}
	}
	return all
}

func (w *walker) close() {
	if w.dir >= 0 {
		_ = unix.Close(w.dir) // of a descriptor that nothing was written to
		w.dir = -1
	}
}

// pop takes the next component; "" if there is none. More come behind it, or not.
func (w *walker) pop() (name string, more bool) {
	if len(w.rest) == 0 {
		return "", false
	}
	name, w.rest = w.rest[0], w.rest[1:]
	return name, len(w.rest) > 0
}

func (w *walker) path(name string) string { return path.Join(w.at, name) }

// failed is a system call's error.
func (w *walker) failed(op, at string, err error) error {
	return &fs.PathError{Op: op, Path: at, Err: err}
}

// restart goes to /.
func (w *walker) restart() error {
	fd, err := openAt(unix.AT_FDCWD, "/", searchFlags)
	if err != nil {
		return w.failed("open", "/", err)
	}
	return w.reach(fd, "/")
}

// reach makes an open folder the one that was reached, if it is good.
func (w *walker) reach(fd int, at string) error {
	w.close()
	w.dir, w.at = fd, at
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return w.failed("stat", at, err)
	}
	return mountRemedy(fd, w.owners.checkFolder(fd, at, &st))
}

// enterAll goes to the end of the way, which is a folder. Missing ones are made with
// this mode, if there is one.
func (w *walker) enterAll(mode uint32) error {
	for len(w.rest) > 0 {
		name, _ := w.pop()
		if err := w.enter(name, mode); err != nil {
			return err
		}
	}
	return nil
}

// enter goes into a folder, or follows a link, or makes the folder first.
func (w *walker) enter(name string, mode uint32) error {
	var st unix.Stat_t
	err := w.stat(name, &st)
	if mode != 0 && errors.Is(err, fs.ErrNotExist) {
		if err = unix.Mkdirat(w.dir, name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return w.failed("mkdir", w.path(name), err)
		}
		err = w.stat(name, &st)
	}
	if err != nil {
		return err
	}
	if kind(&st) == unix.S_IFLNK {
		return w.follow(name, &st)
	}
	fd, err := openAt(w.dir, name, searchFlags)
	if err != nil {
		return w.failed("open", w.path(name), err)
	}
	return w.reach(fd, w.path(name))
}

// stat looks at a name of the folder, without following it.
func (w *walker) stat(name string, st *unix.Stat_t) error {
	if err := unix.Fstatat(w.dir, name, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return w.failed("open", w.path(name), err)
	}
	return nil
}

// follow puts what a link leads to before the rest of the way. Nobody but its owner
// can exchange it, as the folder is good.
func (w *walker) follow(name string, st *unix.Stat_t) error {
	if err := mountRemedy(w.dir, w.owners.check(w.path(name), st)); err != nil {
		return err
	}
	if w.links++; w.links > maxLinks {
		return w.failed("open", w.path(name), unix.ELOOP)
	}
	target := make([]byte, maxTarget)
	n, err := unix.Readlinkat(w.dir, name, target)
	if err != nil {
		return w.failed("readlink", w.path(name), err)
	}
	if n == len(target) {
		return w.failed("readlink", w.path(name), unix.ENAMETOOLONG)
	}
	to := string(target[:n])
	w.rest = append(components(to), w.rest...)
	if strings.HasPrefix(to, "/") {
		return w.restart()
	}
	return nil
}

// open opens a file of the folder that was found to be one. Without O_NONBLOCK a
// FIFO would be waited for.
func (w *walker) open(name string, found *unix.Stat_t, rule Rule) (*os.File, error) {
	at := w.path(name)
	if err := mountRemedy(w.dir, w.owners.checkFile(at, found, rule)); err != nil {
		return nil, err
	}
	fd, err := openAt(w.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return nil, w.failed("open", at, err)
	}
	f := os.NewFile(uintptr(fd), at)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(w.failed("stat", at, err), f.Close())
	}
	if err := w.owners.checkFile(at, &st, rule); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func openAt(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
