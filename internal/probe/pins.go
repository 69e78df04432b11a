//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// abiVersion is part of the pin path. Change it with any layout or meaning in
// bpf/include/abi.h.
const abiVersion = 1

// pinFolder is where one instance of the agent keeps its pins:
// <bpffs>/lanyard/<instance>/v<abi>/{maps,links}.
type pinFolder struct {
	instance  string // <bpffs>/lanyard/<instance>
	inherited bool   // a former agent left pins
	lock      *os.File
}

// bpffs reserves dots in names.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func openPins(bpffs, instance string) (*pinFolder, error) {
	if !instanceName.MatchString(instance) {
		return nil, fmt.Errorf("open pins: instance %q: use letters, digits, - and _, 64 at most", instance)
	}
	if err := ensureBPFFS(bpffs); err != nil {
		return nil, err
	}
	p := &pinFolder{instance: filepath.Join(bpffs, "lanyard", instance)}
	for _, dir := range []string{filepath.Dir(p.instance), p.instance} {
		if err := makePrivate(dir); err != nil {
			return nil, err
		}
	}
	if err := p.acquire(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.instance)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pins: %w", err), p.release())
	}
	p.inherited = len(entries) > 0
	for _, dir := range []string{p.version(), p.maps(), p.links()} {
		if err := makePrivate(dir); err != nil {
			return nil, errors.Join(err, p.release())
		}
	}
	return p, nil
}

func (p *pinFolder) version() string {
	return filepath.Join(p.instance, fmt.Sprintf("v%d", abiVersion))
}
func (p *pinFolder) maps() string  { return filepath.Join(p.version(), "maps") }
func (p *pinFolder) links() string { return filepath.Join(p.version(), "links") }

// makePrivate makes a folder that nobody but root can open pins from.
func makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make pin folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("make pin folder: %w", err)
	}
	return nil
}

// acquire keeps a second agent away from this instance's pins.
func (p *pinFolder) acquire() error {
	dir, err := os.Open(p.instance)
	if err != nil {
		return fmt.Errorf("lock pin folder: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock pin folder %s: another agent uses this instance; stop it, or choose another LANYARD_INSTANCE", p.instance)
		}
		return fmt.Errorf("lock pin folder %s: %w", p.instance, err)
	}
	p.lock = dir
	return nil
}

func (p *pinFolder) release() error { return p.lock.Close() }

// remove deletes every pin of the instance, and the instance's folder.
func (p *pinFolder) remove() error {
	if err := os.RemoveAll(p.instance); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	// Other instances may live beside this one.
	if err := os.Remove(filepath.Dir(p.instance)); err != nil &&
		!errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}

// removeOtherVersions deletes what an agent with another ABI left. Call it when
// the new hooks are attached.
func (p *pinFolder) removeOtherVersions() error {
	entries, err := os.ReadDir(p.instance)
	if err != nil {
		return fmt.Errorf("remove old pins: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(p.instance, e.Name())
		if strings.HasPrefix(e.Name(), "v") && dir != p.version() {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("remove old pins: %w", err)
			}
		}
	}
	return nil
}

// ensureBPFFS mounts the BPF file system where it is expected and missing, as
// other loaders do; most hosts have it.
func ensureBPFFS(path string) error {
	var fs unix.Statfs_t
	err := unix.Statfs(path, &fs)
	if err == nil && fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find BPF file system at %s: %w; mount it: mount -t bpf bpf /sys/fs/bpf", path, err)
	}
	if err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system at %s: %w; mount it yourself: mount -t bpf bpf %s", path, err, path)
	}
	return nil
}
