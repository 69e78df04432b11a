//go:build linux

package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// NewBPFFS mounts a BPF file system of the test's own in a temporary folder and
// returns the folder. When the test ends, pins that remain in it are an error,
// and it is unmounted.
func NewBPFFS(t testing.TB) string {
	t.Helper()
	RequireRoot(t)
	path := t.TempDir()
	if err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		t.Fatalf("mount bpf at %s: %v", path, err)
	}
	t.Cleanup(func() {
		for _, pin := range Pins(t, path) {
			t.Errorf("left behind: pin %s", pin)
			_ = os.Remove(filepath.Join(path, pin))
		}
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("unmount bpf from %s: %v", path, err)
		}
	})
	return path
}

// NewAgentBPFFS is NewBPFFS for tests of the whole agent, which leaves its pins when it
// ends. At the end of the test they are removed as an operator would without its binary.
func NewAgentBPFFS(t testing.TB) string {
	t.Helper()
	path := NewBPFFS(t)
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Join(path, "lanyard")); err != nil {
			t.Errorf("remove pins: %v", err)
		}
	})
	return path
}

// ownPins are what some kernels put into every BPF file system themselves
// (CONFIG_BPF_PRELOAD).
var ownPins = []string{"maps.debug", "progs.debug"}

// Pins lists the pins in a BPF file system, by their path below its root, without
// the kernel's own.
func Pins(t testing.TB, root string) []string {
	t.Helper()
	var pins []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if !slices.Contains(ownPins, name) {
			pins = append(pins, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list pins below %s: %v", root, err)
	}
	return pins
}
