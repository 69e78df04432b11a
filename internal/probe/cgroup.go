//go:build linux

package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// initCgroupNS is the inode of the initial cgroup namespace, a constant of the
// kernel's (PROC_CGROUP_INIT_INO).
const initCgroupNS = 0xEFFFFFFB

// CgroupRoot returns the mount point of the whole cgroup2 hierarchy, found in
// this process's mount table: /sys/fs/cgroup on most hosts,
// /sys/fs/cgroup/unified on hybrid ones. It refuses a hierarchy that is only a
// container's own part, because hooks attached there would see nothing else.
func CgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find cgroup2 root: %w", err)
	}
	defer f.Close()
	root, err := cgroupRootIn(f)
	if err != nil {
		return "", fmt.Errorf("find cgroup2 root: %w", err)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/cgroup", &ns); err == nil && ns.Ino != initCgroupNS {
		return "", errors.New("find cgroup2 root: this process is in a cgroup namespace of its own and " +
			"would see its own cgroup only; start the container with --cgroupns=host, or mount the host's " +
			"/sys/fs/cgroup at another place and name that with --cgroup")
	}
	return root, nil
}

// CgroupRootFor is CgroupRoot where the agent is told to attach to a cgroup: where this
// process sees no whole hierarchy of its own, that cgroup may be in one that is, as the
// host's is that was mounted into a container. cgroup may be "".
func CgroupRootFor(cgroup string) (string, error) {
	root, err := CgroupRoot()
	if err == nil || cgroup == "" {
		return root, err
	}
	for folder := filepath.Clean(cgroup); ; folder = filepath.Dir(folder) {
		c, openErr := openCgroup(folder)
		if openErr != nil {
			return "", err // above the mount point, or none at all
		}
		id := c.id
		c.close()
		if id == rootCgroupID {
			return folder, nil
		}
		if folder == "/" {
			return "", err
		}
	}
}

// rootCgroupID is the id of the root of a hierarchy: kernfs numbers from 1 on.
const rootCgroupID = 1

func cgroupRootIn(mountinfo io.Reader) (string, error) {
	var partial string
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20) // an overlay's options name every layer
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		if !ok || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		// id, parent, device, root, mount point, …; any other white space is part of a name.
		fields := strings.Split(before, " ")
		if len(fields) < 5 || fields[4] == "" {
			continue
		}
		if fields[3] == "/" {
			return unescapeMount(fields[4]), nil
		}
		partial = fields[4]
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if partial != "" {
		return "", fmt.Errorf("%s shows a part of the cgroup2 hierarchy only; mount the host's", partial)
	}
	return "", errors.New("no cgroup2 is mounted; mount it: mount -t cgroup2 none /sys/fs/cgroup")
}

// unescapeMount undoes the octal escapes of the mount table, as in proc(5).
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// cgroupDir is an open cgroup2 folder.
type cgroupDir struct {
	dir  *os.File
	id   uint64 // as bpf_get_current_cgroup_id(2) says it: the inode number
	name string // where it is, by the kernel's word
}

func openCgroup(path string) (*cgroupDir, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return newCgroupDir(dir)
}

func newCgroupDir(dir *os.File) (*cgroupDir, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	err := errors.Join(unix.Fstatfs(int(dir.Fd()), &fs), unix.Fstat(int(dir.Fd()), &st))
	if err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC {
		err = errors.New("not a cgroup2 folder; name one below the cgroup2 root")
	}
	c := &cgroupDir{dir: dir, id: st.Ino}
	if err == nil {
		c.name, err = os.Readlink(c.path())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open cgroup %s: %w", dir.Name(), err), dir.Close())
	}
	return c, nil
}

// fileIDKernfs is the type of a file handle of kernfs: eight bytes, the cgroup id
// (include/linux/exportfs.h).
const fileIDKernfs = 0xfe

// byID opens another cgroup of the same hierarchy. It needs CAP_DAC_READ_SEARCH.
func (c *cgroupDir) byID(id uint64) (*cgroupDir, error) {
	var raw [8]byte
	binary.NativeEndian.PutUint64(raw[:], id)
	fd, err := unix.OpenByHandleAt(int(c.dir.Fd()), unix.NewFileHandle(fileIDKernfs, raw[:]), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %d: %w", id, err)
	}
	return newCgroupDir(os.NewFile(uintptr(fd), fmt.Sprintf("cgroup %d", id)))
}

// isIn reports whether this is the other cgroup, or one below it.
func (c *cgroupDir) isIn(other *cgroupDir) bool {
	return c.id == other.id || strings.HasPrefix(c.name, strings.TrimSuffix(other.name, "/")+"/")
}

// path leads to this very cgroup, whatever has its name.
func (c *cgroupDir) path() string { return fmt.Sprintf("/proc/self/fd/%d", c.dir.Fd()) }

func (c *cgroupDir) close() { _ = c.dir.Close() } // it was read only

// cgroupID returns the kernel's id of the cgroup at path.
func cgroupID(path string) (uint64, error) {
	c, err := openCgroup(path)
	if err != nil {
		return 0, err
	}
	defer c.close()
	return c.id, nil
}
