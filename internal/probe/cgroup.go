//go:build linux

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
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
			"/sys/fs/cgroup and name it with --cgroup")
	}
	return root, nil
}

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

// cgroupID returns the kernel's id of the cgroup at path: the inode number on
// cgroup2.
func cgroupID(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("open cgroup %s: %w", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("open cgroup %s: not a cgroup2 folder; name one below the cgroup2 root", path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("open cgroup %s: %w", path, err)
	}
	return st.Ino, nil
}
