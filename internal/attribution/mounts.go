//go:build linux

package attribution

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMounts bounds how much of a mount table is read: the kernel's own bound on
// a namespace (fs.mount-max) is this by default.
const maxMounts = 100_000

// mount is one line of a mount table, proc_pid_mountinfo(5).
type mount struct {
	id     uint64
	root   string
	point  string
	fsType string
}

// readMounts reads the mount table at a path.
func readMounts(path string) ([]mount, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

func parseMounts(table io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20) // an overlay's options name every layer
	for lines.Scan() && len(mounts) < maxMounts {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	return mounts, nil
}

func parseMount(line string) (mount, error) {
	before, after, ok := strings.Cut(line, " - ")
	fields := strings.Split(before, " ") // alone: any other white space is part of a name
	if !ok || len(fields) < 6 {
		return mount{}, fmt.Errorf("read mount table: line %q is not understood", line)
	}
	id, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return mount{}, fmt.Errorf("read mount table: %w", err)
	}
	fsType, _, _ := strings.Cut(after, " ")
	return mount{id: id, root: unescapeMount(fields[3]), point: unescapeMount(fields[4]), fsType: fsType}, nil
}

// unescapeMount undoes the octal escapes that the kernel writes for spaces, tabs,
// line ends and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func hasMount(mounts []mount, id uint64) bool {
	return slices.ContainsFunc(mounts, func(m mount) bool { return m.id == id })
}

// file is what stat says about which file this is and how it is.
type file struct {
	device, inode uint64
	links         uint32
	mount         uint64 // id of the mount it was reached through, 0 if not known
}

// sameAs reports whether both are one file.
func (f file) sameAs(g file) bool { return f.device == g.device && f.inode == g.inode }

// statAt looks at a file through its links, the magic ones of /proc included. An
// empty path means the open file itself.
func statAt(dir int, path string) (file, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return file{}, err
	}
	f := file{
		device: unix.Mkdev(st.Dev_major, st.Dev_minor),
		inode:  st.Ino,
		links:  st.Nlink,
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		f.mount = st.Mnt_id
	}
	return f, nil
}
