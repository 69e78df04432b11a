//go:build linux

package attribution

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileIDKernfs is the type of a file handle of kernfs, which cgroup2 is made of:
// eight bytes, the cgroup id (include/linux/exportfs.h).
const fileIDKernfs = 0xfe

// ErrNoCgroup says that no cgroup has this id any more, or none that can be seen
// from here.
var ErrNoCgroup = errors.New("no such cgroup")

// Cgroups finds the paths of cgroups by their ids. It is safe for concurrent
// use.
type Cgroups struct {
	mount *os.File
	path  string // where the mount is, by the kernel's word
}

// OpenCgroups opens the cgroup2 hierarchy mounted at a folder.
func OpenCgroups(mount string) (*Cgroups, error) {
	f, err := os.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("open cgroup2 hierarchy: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		f.Close()
		return nil, fmt.Errorf("open cgroup2 hierarchy at %s: %w", mount, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		f.Close()
		return nil, fmt.Errorf("open cgroup2 hierarchy: %s is no cgroup2 mount; mount one with mount -t cgroup2 none FOLDER", mount)
	}
	path, err := pathOf(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open cgroup2 hierarchy at %s: %w", mount, err)
	}
	return &Cgroups{mount: f, path: path}, nil
}

// Close closes the hierarchy.
func (c *Cgroups) Close() error { return c.mount.Close() }

// Path returns the path of a cgroup below the mount point, "/" for the mount
// itself. It needs CAP_DAC_READ_SEARCH.
func (c *Cgroups) Path(id uint64) (string, error) {
	var raw [8]byte
	binary.NativeEndian.PutUint64(raw[:], id)
	fd, err := unix.OpenByHandleAt(int(c.mount.Fd()), unix.NewFileHandle(fileIDKernfs, raw[:]), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("find cgroup %d: %w", id, ErrNoCgroup)
	}
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: %w", id, err)
	}
	f := os.NewFile(uintptr(fd), "cgroup")
	defer f.Close()
	absolute, err := pathOf(f)
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: %w", id, err)
	}
	path, ok := strings.CutPrefix(absolute, c.path)
	if path == "" {
		path = "/"
	}
	// Compared again by id: the path of a cgroup that was just removed, or that
	// lies outside this mount, reads like one that exists.
	if found, err := c.ID(path); !ok || err != nil || found != id {
		return "", fmt.Errorf("find cgroup %d: %w", id, ErrNoCgroup)
	}
	return path, nil
}

// ID returns the id of the cgroup at a path below the mount point.
func (c *Cgroups) ID(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(c.mount.Fd()), strings.TrimPrefix(filepath.Join("./", path), "/"), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, fmt.Errorf("find cgroup %s: %w", path, err)
	}
	return st.Ino, nil
}

// pathOf is the kernel's word on where an open file is.
func pathOf(f *os.File) (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// FindCgroup2 returns the mount point of cgroup2 out of the mount table; a host
// with cgroup v1 beside it has it at a folder of its own. The table is that of
// the calling process, below this proc folder.
func FindCgroup2(proc string) (string, error) {
	mounts, err := readMounts(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.fsType == "cgroup2" && m.root == "/" {
			return m.point, nil
		}
	}
	return "", errors.New("find cgroup2: not mounted; mount it with mount -t cgroup2 none FOLDER")
}
