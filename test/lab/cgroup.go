//go:build linux

package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// killLimit is how long the processes of a cgroup may take to die after SIGKILL.
const killLimit = 10 * time.Second

// Cgroup is a cgroup2 folder that the test owns.
type Cgroup struct {
	Path string // in the file system
	Name string // below the cgroup2 root, with a leading slash
	ID   uint64 // as bpf_get_current_cgroup_id(2) says it

	dir *os.File
}

// CgroupRoot returns the mount point of the cgroup2 file system, found in the
// mount table: hybrid hosts have it at /sys/fs/cgroup/unified.
func CgroupRoot(t testing.TB) string {
	t.Helper()
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatalf("find the cgroup2 mount: %v", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		mount, kind, ok := parseMount(lines.Text())
		if ok && kind == "cgroup2" {
			return mount
		}
	}
	Unavailable(t, "no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup")
	return ""
}

// parseMount reads the mount point and the kind of file system from a line of
// mountinfo(5).
func parseMount(line string) (point, kind string, ok bool) {
	before, after, found := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	rest := strings.Fields(after)
	if !found || len(fields) < 5 || len(rest) < 1 {
		return "", "", false
	}
	return unescapeMount(fields[4]), rest[0], true
}

// unescapeMount undoes the octal escapes of mountinfo(5).
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// NewCgroup makes a cgroup directly below the cgroup2 root. At the end of the
// test its processes are killed and it is removed with all that is below it.
func NewCgroup(t testing.TB) *Cgroup {
	t.Helper()
	return newCgroup(t, "lanyard-test-*")
}

// NewSlice is NewCgroup with the name of a systemd slice: what is below it can be
// named as units of the system manager.
func NewSlice(t testing.TB) *Cgroup {
	t.Helper()
	return newCgroup(t, "lanyard-test-*.slice")
}

func newCgroup(t testing.TB, pattern string) *Cgroup {
	t.Helper()
	RequireRoot(t)
	root := CgroupRoot(t)
	path, err := os.MkdirTemp(root, pattern)
	if err != nil {
		t.Fatalf("make cgroup: %v", err)
	}
	cgroup := openCgroup(t, root, path)
	t.Cleanup(func() {
		if err := cgroup.remove(); err != nil {
			t.Errorf("remove cgroup %s: %v", cgroup.Path, err)
		}
	})
	return cgroup
}

// Sub makes a cgroup below this one; it goes with it.
func (c *Cgroup) Sub(t testing.TB, name string) *Cgroup {
	t.Helper()
	path := filepath.Join(c.Path, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatalf("make cgroup: %v", err)
	}
	sub := openCgroup(t, strings.TrimSuffix(c.Path, c.Name), path)
	t.Cleanup(func() { sub.dir.Close() })
	return sub
}

// Processes lists the processes in this cgroup itself.
func (c *Cgroup) Processes() ([]string, error) {
	content, err := os.ReadFile(filepath.Join(c.Path, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(content)), nil
}

// Children lists the cgroups directly below this one.
func (c *Cgroup) Children() ([]string, error) {
	entries, err := os.ReadDir(c.Path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Kill ends every process in this cgroup and below and waits until they are gone.
func (c *Cgroup) Kill() error {
	if err := os.WriteFile(filepath.Join(c.Path, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("kill the processes of %s: %w", c.Name, err)
	}
	return waitFor(killLimit, c.checkEmpty)
}

// checkEmpty returns an error while a process lives in this cgroup or below.
func (c *Cgroup) checkEmpty() error {
	events, err := os.ReadFile(filepath.Join(c.Path, "cgroup.events"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(events), "populated 0") {
		return fmt.Errorf("processes still live in %s", c.Name)
	}
	return nil
}

// remove kills what lives in the cgroup and removes it, children first.
func (c *Cgroup) remove() error {
	defer c.dir.Close()
	if err := c.Kill(); err != nil {
		return err
	}
	return waitFor(killLimit, func() error { return removeCgroupTree(c.Path) })
}

func removeCgroupTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeCgroupTree(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return unix.Rmdir(path)
}

func openCgroup(t testing.TB, root, path string) *Cgroup {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatalf("open cgroup: %v", err)
	}
	id, err := cgroupID(path)
	if err != nil {
		t.Fatalf("read id of cgroup %s: %v", path, err)
	}
	return &Cgroup{Path: path, Name: strings.TrimPrefix(path, strings.TrimSuffix(root, "/")), ID: id, dir: dir}
}

// cgroupID reads the kernfs id of a cgroup's folder: its 8-byte file handle.
func cgroupID(path string) (uint64, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return 0, fmt.Errorf("name_to_handle_at: %w", err)
	}
	if handle.Size() != 8 {
		return 0, fmt.Errorf("file handle has %d bytes, want the 8 of a cgroup id", handle.Size())
	}
	return binary.NativeEndian.Uint64(handle.Bytes()), nil
}
