//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// abiVersion is part of the pin path. Change it with any layout or meaning in
// bpf/include/abi.h.
const abiVersion = 2

// pinFolder is where one instance of the agent keeps its pins:
// <bpffs>/lanyard/<instance>/v<abi>/{maps,links}.
type pinFolder struct {
	bpffs     string   // mount point
	instance  string   // <bpffs>/lanyard/<instance>
	inherited bool     // a former agent left pins of this layout
	lock      *os.File // the instance's folder, also where it is no longer at its path
}

// bpffs reserves dots in names.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func openPins(bpffs, instance string, log *slog.Logger) (*pinFolder, error) {
	if !instanceName.MatchString(instance) {
		return nil, fmt.Errorf("open pins: instance %q: use letters, digits, - and _, 64 at most", instance)
	}
	if err := ensureBPFFS(bpffs, log); err != nil {
		return nil, err
	}
	p := &pinFolder{bpffs: bpffs, instance: filepath.Join(bpffs, "lanyard", instance)}
	if err := p.makeInstance(); err != nil {
		return nil, err
	}
	err := p.acquirePatiently()
	if err != nil {
		return nil, err
	}
	if p.inherited, err = isThere(p.version()); err != nil {
		return nil, errors.Join(fmt.Errorf("open pins: %w", err), p.release())
	}
	if err := p.makeVersion(); err != nil {
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

// isThere reports whether something is at a path.
func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (p *pinFolder) makeInstance() error {
	return makePrivate(p.parent(), p.instance)
}

func (p *pinFolder) makeVersion() error {
	return makePrivate(p.version(), p.maps(), p.links())
}

// restore makes the folders again where somebody removed them or mounted another BPF
// file system over them: pins are of use where the next agent looks for them.
func (p *pinFolder) restore() error {
	is, err := isBPFFS(p.bpffs)
	if err != nil {
		return fmt.Errorf("find BPF file system at %s: %w", p.bpffs, err)
	}
	if !is {
		return fmt.Errorf("no BPF file system is at %s any more; mount it: %s", p.bpffs, mountCommand(p.bpffs))
	}
	if err := p.makeInstance(); err != nil {
		return err
	}
	if !p.isInPlace() {
		former := p.lock
		if err := p.acquire(); err != nil {
			return err
		}
		if err := errors.Join(removeIn(former), former.Close()); err != nil {
			return fmt.Errorf("remove pins that another mount hides: %w", err)
		}
	}
	return p.makeVersion()
}

// isInPlace reports whether the folder that this agent has locked is the one that its
// path leads to.
func (p *pinFolder) isInPlace() bool {
	at, err := os.Stat(p.instance)
	if err != nil {
		return false
	}
	locked, err := p.lock.Stat()
	return err == nil && os.SameFile(at, locked)
}

// removeIn removes what is in an open folder, wherever that is now.
func removeIn(dir *os.File) error {
	path := pathOfOpen(dir)
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) { // it was removed
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return errors.Join(errs...)
}

// pathOfOpen leads to an open folder, wherever that is now.
func pathOfOpen(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", dir.Fd()) }

func (p *pinFolder) version() string {
	return filepath.Join(p.instance, fmt.Sprintf("v%d", abiVersion))
}

// parent is where the folders of all instances are.
func (p *pinFolder) parent() string { return filepath.Dir(p.instance) }

func (p *pinFolder) maps() string  { return filepath.Join(p.version(), "maps") }
func (p *pinFolder) links() string { return filepath.Join(p.version(), "links") }

// makePrivate makes folders that nobody but root and this process's user can open pins
// from, lock, or move pins away from. One that is there must be theirs: on a BPF file
// system that everybody can write to, which the kernel makes where no mode is given,
// another user may have made it first.
func makePrivate(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make pin folder: %w; remove what stands in its place, or mount a BPF file system that can be written to", err)
		}
		if err := checkOwn(dir); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("make pin folder: %w; remove what stands in its place, or mount a BPF file system that can be written to", err)
		}
	}
	return nil
}

// checkOwn returns an error unless dir is a folder, and no link to one, of root or of this
// process's user.
func checkOwn(dir string) error {
	var is unix.Stat_t
	if err := unix.Lstat(dir, &is); err != nil {
		return fmt.Errorf("make pin folder: look at %s: %w", dir, err)
	}
	if is.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("make pin folder: %s is no folder; remove what stands in its place: rm %s", dir, dir)
	}
	if is.Uid != 0 && int(is.Uid) != os.Geteuid() {
		return fmt.Errorf("make pin folder: %s belongs to user %d, who could lock it or move the pins away; remove it: rm -r %s, and let no other user write to %s",
			dir, is.Uid, dir, filepath.Dir(dir))
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
			return fmt.Errorf("lock pin folder %s: %w; stop it, or choose another LANYARD_INSTANCE", p.instance, errInstanceInUse)
		}
		return fmt.Errorf("lock pin folder %s: %w", p.instance, err)
	}
	p.lock = dir
	return nil
}

var errInstanceInUse = errors.New("another agent uses this instance")

// lockPatience is longer than another agent holds the lock that isLocked takes.
const lockPatience = time.Second

// acquirePatiently does not take an agent that looks whether this one is dead for one of
// the same instance.
func (p *pinFolder) acquirePatiently() error {
	for began := time.Now(); ; time.Sleep(lockPatience / 50) {
		if err := p.acquire(); !errors.Is(err, errInstanceInUse) || time.Since(began) > lockPatience {
			return err
		}
	}
}

// isLocked reports whether an agent has an instance's folder. Two that ask at once do
// not take each other for that agent.
func isLocked(instance string) (bool, error) {
	dir, err := os.Open(instance)
	if err != nil {
		return false, fmt.Errorf("look whether an agent has pin folder: %w", err)
	}
	defer dir.Close() // and the lock with it
	err = unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("look whether an agent has pin folder %s: %w", instance, err)
	}
	return err != nil, nil
}

func (p *pinFolder) release() error { return p.lock.Close() }

// removeVersion deletes the pins of this layout, and the instance's folder if nothing
// is left in it. Another's folder, which took the place of a removed one, is left alone.
func (p *pinFolder) removeVersion() error {
	if err := os.RemoveAll(filepath.Join(pathOfOpen(p.lock), filepath.Base(p.version()))); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return p.removeFolders()
}

// removeAll deletes every pin of the instance, of whatever layout, and its folder.
func (p *pinFolder) removeAll() error {
	if err := removeIn(p.lock); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return p.removeFolders()
}

// removeFolders removes the instance's folder, and that of all instances, where nothing
// is in them.
func (p *pinFolder) removeFolders() error {
	if !p.isInPlace() {
		return nil
	}
	for _, folder := range []string{p.instance, p.parent()} {
		err := os.Remove(folder)
		if errors.Is(err, unix.ENOTEMPTY) { // another layout's pins, or another instance's
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove pins: %w", err)
		}
	}
	return nil
}

// removeOtherVersions deletes what an agent with another ABI left.
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
