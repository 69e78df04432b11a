//go:build linux

package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/probe"
)

const (
	// defaultBPFFS is where a host has its BPF file system.
	defaultBPFFS = "/sys/fs/bpf"
	// removeLimit bounds how long the kernel may take to empty a cgroup.
	removeLimit = 5 * time.Second
	// removeInterval is how often an attempt at that is repeated.
	removeInterval = 10 * time.Millisecond
)

// stage is what the demo makes on the machine: a folder, cgroups, and a BPF file
// system where the host has none.
type stage struct {
	folder   string
	cgroup   string // holds the two below
	services string // cgroup of authority and agent
	programs string // cgroup that the agent watches
	bpffs    string
	mounted  bool // bpffs is ours
	instance string
}

// newStage makes everything, or nothing.
func newStage() (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	if s.folder, err = os.MkdirTemp("", "lanyard-demo-"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	s.instance = filepath.Base(s.folder)
	if err := s.makeCgroups(); err != nil {
		return nil, err
	}
	return s, s.findBPFFS()
}

func (s *stage) makeCgroups() error {
	root, err := probe.CgroupRoot()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	s.cgroup = filepath.Join(root, s.instance)
	s.services, s.programs = filepath.Join(s.cgroup, "services"), filepath.Join(s.cgroup, "programs")
	for _, path := range []string{s.cgroup, s.services, s.programs} {
		if err := os.Mkdir(path, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return nil
}

// findBPFFS uses the host's BPF file system, or mounts one inside the folder: the
// host's own mount point is left as it is.
func (s *stage) findBPFFS() error {
	var host unix.Statfs_t
	if err := unix.Statfs(defaultBPFFS, &host); err == nil && host.Type == unix.BPF_FS_MAGIC {
		s.bpffs = defaultBPFFS
		return nil
	}
	s.bpffs = filepath.Join(s.folder, "bpf")
	if err := os.Mkdir(s.bpffs, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount("bpf", s.bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system: %w", err)
	}
	s.mounted = true
	return nil
}

// path is a path in the stage's folder.
func (s *stage) path(name string) string { return filepath.Join(s.folder, name) }

// remove takes everything away again; what uninstalling the agent should have removed is
// an error, and removed all the same.
func (s *stage) remove() error {
	return errors.Join(s.removePins(), s.removeCgroups(), s.unmount(), s.removeFolder())
}

func (s *stage) removePins() error {
	if s.bpffs == "" {
		return nil
	}
	pins := filepath.Join(s.bpffs, "lanyard", s.instance)
	var failure error
	if _, err := os.Stat(pins); err == nil {
		failure = fmt.Errorf("uninstalling the agent left pins behind in %s", pins)
	}
	failure = errors.Join(failure, os.RemoveAll(pins))
	_ = os.Remove(filepath.Dir(pins)) // stays where another agent has its pins
	return failure
}

// removeCgroups ends what still lives in the cgroups and removes them.
func (s *stage) removeCgroups() error {
	if s.cgroup == "" {
		return nil
	}
	err := os.WriteFile(filepath.Join(s.cgroup, "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end processes of cgroup %s: %w", s.cgroup, err)
	}
	for _, path := range []string{s.services, s.programs, s.cgroup} {
		if err := removeCgroup(path); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup waits until the last process is gone: the kernel lets go of it a
// moment after it has died.
func removeCgroup(path string) error {
	for deadline := time.Now().Add(removeLimit); ; time.Sleep(removeInterval) {
		err := unix.Rmdir(path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
}

func (s *stage) unmount() error {
	if !s.mounted {
		return nil
	}
	if err := unix.Unmount(s.bpffs, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", s.bpffs, err)
	}
	return nil
}

func (s *stage) removeFolder() error {
	if s.folder == "" {
		return nil
	}
	// Never through a mount that could not be taken away.
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("remove %s: %w", s.folder, err)
	}
	if strings.Contains(string(mounts), s.folder) {
		return fmt.Errorf("remove %s: something is still mounted in it", s.folder)
	}
	return os.RemoveAll(s.folder)
}
