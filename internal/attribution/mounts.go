//go:build linux

package attribution

import (
	"bufio"
	"fmt"
	"io"
	"os"
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
	device uint64 // of the file system; what stat says of a file on it may differ
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

func parseMounts(table io.Reader) (mounts []mount, err error) {
	err = eachMount(table, func(m mount) bool {
		mounts = append(mounts, m)
		return true
	})
	if err != nil {
		return nil, err
	}
	return mounts, nil
}

// eachMount calls a function for each mount of a table until it returns false.
func eachMount(table io.Reader, f func(mount) bool) error {
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20) // an overlay's options name every layer
	for n := 0; n < maxMounts && lines.Scan(); n++ {
		m, err := parseMount(lines.Text())
		if err != nil {
			return err
		}
		if !f(m) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read mount table: %w", err)
	}
	return nil
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
	return mount{id: id, device: parseDevice(fields[2]), root: unescapeMount(fields[3]), point: unescapeMount(fields[4]), fsType: fsType}, nil
}

// parseDevice reads major:minor. Anything else is 0, which no file system has.
func parseDevice(text string) uint64 {
	major, minor, _ := strings.Cut(text, ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if errA != nil || errB != nil {
		return 0
	}
	return unix.Mkdev(uint32(a), uint32(b))
}

// unescapeMount undoes the octal escapes that the kernel writes for spaces, tabs,
// line ends and backslashes.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
