package attribution

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// ownCgroup makes a cgroup of the test's own and removes it afterwards.
func ownCgroup(t *testing.T, below, name string) (mount, path string) {
	t.Helper()
	needRoot(t)
	mount, err := FindCgroup2("/proc")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(below, name)
	if err := os.Mkdir(filepath.Join(mount, path), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, filepath.Join(mount, path)) })
	return mount, path
}

// removeCgroup waits until the last process is gone.
func removeCgroup(t *testing.T, path string) {
	t.Helper()
	until(t, func() bool {
		err := os.Remove(path)
		return err == nil || errors.Is(err, os.ErrNotExist)
	})
}

// inCgroup has a command start in a cgroup.
func inCgroup(t *testing.T, cmd *exec.Cmd, path string) *exec.Cmd {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	return cmd
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestCgroupPaths(t *testing.T) {
	mount, slice := ownCgroup(t, "/", fmt.Sprintf("lanyard%d.slice", os.Getpid()))
	_, service := ownCgroup(t, slice, "odd name (deleted).service")
	cgroups, err := OpenCgroups(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroups.Close()
	for _, path := range []string{"/", slice, service} {
		id := inode(t, filepath.Join(mount, path))
		if got, err := cgroups.Path(id); err != nil || got != path {
			t.Errorf("path of %d: %q, %v, want %q", id, got, err, path)
		}
		if got, err := cgroups.ID(path); err != nil || got != id {
			t.Errorf("id of %q: %d, %v, want %d", path, got, err, id)
		}
	}
	gone := inode(t, filepath.Join(mount, service))
	removeCgroup(t, filepath.Join(mount, service))
	for _, id := range []uint64{0, gone, 1 << 60} {
		if got, err := cgroups.Path(id); !errors.Is(err, ErrNoCgroup) {
			t.Errorf("path of %d: %q, %v", id, got, err)
		}
	}
}

func TestCgroup2MountIsRequired(t *testing.T) {
	if c, err := OpenCgroups(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no cgroup2 mount") {
		t.Errorf("got %v, %v", c, err)
	}
}

// TestCgroupIsThatOfTheConnect moves a process after it has connected.
func TestCgroupIsThatOfTheConnect(t *testing.T) {
	mount, slice := ownCgroup(t, "/", fmt.Sprintf("lanyard%d.slice", os.Getpid()))
	_, first := ownCgroup(t, slice, "first.service")
	_, second := ownCgroup(t, slice, "second.service")
	c := start(t, inCgroup(t, exec.Command(program(t, filepath.Join(folder(t), "mover"))), filepath.Join(mount, first)))
	c.running(t, "mover")
	id := inode(t, filepath.Join(mount, first))

	with := func(c *Config) { c.Cgroup2 = mount }
	flow := workload.Flow{Image: c.image(1), CgroupID: id}
	if p := mustAttribute(t, attributor(t, newRecord(c.image(1)), with), flow); p.Cgroup != first || p.SystemdUnit != "first.service" {
		t.Errorf("got %+v", p)
	}
	if err := os.WriteFile(filepath.Join(mount, second, "cgroup.procs"), fmt.Appendf(nil, "%d", c.pid()), 0); err != nil {
		t.Fatal(err)
	}
	if p := mustAttribute(t, attributor(t, newRecord(c.image(1)), with), flow); p.Cgroup != first || p.SystemdUnit != "first.service" {
		t.Errorf("after the move: %+v", p)
	}
	// Once that cgroup is gone, where the process is now says nothing about where
	// it connected.
	removeCgroup(t, filepath.Join(mount, first))
	if p := mustAttribute(t, attributor(t, newRecord(c.image(1)), with), flow); p.Cgroup != "" || p.SystemdUnit != "" {
		t.Errorf("after the removal: %+v", p)
	}
}

// TestCgroupWithoutHandles falls back to /proc, for a mount whose ids cannot be
// opened by handle, and believes it only if it is the same cgroup.
func TestCgroupWithoutHandles(t *testing.T) {
	mount, slice := ownCgroup(t, "/", fmt.Sprintf("lanyard%d.slice", os.Getpid()))
	_, service := ownCgroup(t, slice, "x.service")
	exe := program(t, filepath.Join(folder(t), "x"))
	tr := newTree(t)
	tr.link("7/exe", exe)
	tr.write("7/cgroup", "1:name=systemd:/other\n0::"+service+"\n")
	r := tr.reader(mount)
	id := inode(t, filepath.Join(mount, service))
	dir, err := r.open(7)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for given, want := range map[uint64]string{id: service, 0: service, inode(t, mount): ""} {
		p := &workload.Process{CgroupID: given}
		if got, err := r.cgroupNow(dir, p); err != nil || got != want {
			t.Errorf("id %d: got %q, want %q, %v", given, got, want, err)
		}
		if given == 0 && p.CgroupID != id {
			t.Errorf("the id was not filled in: %d", p.CgroupID)
		}
	}
}
