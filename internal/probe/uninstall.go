//go:build linux

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// goneLimit is how long the kernel may take to end hooks that nothing holds any more.
const goneLimit = 10 * time.Second

// ErrRunning says that an agent of the instance runs.
var ErrRunning = errors.New("an agent of this instance runs")

// Installation is what the agents of one instance left in the kernel. It keeps others of
// that instance from starting until Close.
type Installation struct {
	Folder string   // of the pins
	Hooks  []string // names of the pinned links, of every layout
	Maps   int      // how many are pinned

	pins     *pinFolder
	patience time.Duration // see goneLimit
}

// LeftBehind returns where pins of an instance are that no agent has, "" where there are
// none, as far as that can be told.
func LeftBehind(bpffs, instance string) string {
	folder := filepath.Join(bpffs, "lanyard", instance)
	if locked, err := isLocked(folder); locked || err != nil {
		return ""
	}
	return folder
}

// FindInstallation returns what is there of an instance, nil where nothing is. While an
// agent has it, the error is ErrRunning.
func FindInstallation(bpffs, instance string) (*Installation, error) {
	if !instanceName.MatchString(instance) {
		return nil, fmt.Errorf("find pins: instance %q: use letters, digits, - and _, 64 at most", instance)
	}
	p := &pinFolder{bpffs: bpffs, instance: filepath.Join(bpffs, "lanyard", instance)}
	switch is, err := isBPFFS(bpffs); {
	case errors.Is(err, os.ErrNotExist), err == nil && !is:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find BPF file system at %s: %w", bpffs, err)
	}
	err := p.acquirePatiently()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, errInstanceInUse) {
		return nil, fmt.Errorf("%w and has the pins in %s%s", ErrRunning, p.instance, holderOf(p.instance))
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w; run it as root", err)
	}
	if err != nil {
		return nil, err
	}
	i := &Installation{Folder: p.instance, pins: p, patience: goneLimit}
	for _, pin := range i.pinsIn("links") {
		i.Hooks = append(i.Hooks, filepath.Base(pin))
	}
	i.Maps = len(i.pinsIn("maps"))
	return i, nil
}

// pinsIn returns the paths of the pins of a kind.
func (i *Installation) pinsIn(kind string) []string {
	pins, _ := filepath.Glob(filepath.Join(escapeGlob(i.Folder), "v*", kind, "*")) // the pattern is good
	return pins
}

// Remove ends the hooks and removes all pins and their folders. When it returns without an
// error, every connection goes its own way.
func (i *Installation) Remove() error {
	var ids []link.ID
	var errs []error
	for _, pin := range i.pinsIn("links") {
		id, err := endLink(pin)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, id)
	}
	if err := errors.Join(append(errs, i.pins.removeAll())...); err != nil {
		return err
	}
	return awaitGone(ids, i.patience)
}

// endLink detaches a pinned hook, whoever holds it besides, and returns its id. Those of
// processes cannot be detached, and end with the last that holds them.
func endLink(pin string) (link.ID, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0, fmt.Errorf("open hook %s: %w", filepath.Base(pin), err)
	}
	defer func() { _ = l.Close() }() // it goes with its pin
	info, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("look at hook %s: %w", filepath.Base(pin), err)
	}
	if err := l.Detach(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EOPNOTSUPP) {
		return 0, fmt.Errorf("detach hook %s: %w", filepath.Base(pin), err)
	}
	return info.ID, nil
}

// awaitGone waits until none of the links exists any more.
func awaitGone(ids []link.ID, limit time.Duration) error {
	for began := time.Now(); ; time.Sleep(limit / 1000) {
		var left []string
		for _, id := range ids {
			l, err := link.NewFromID(id)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				_ = l.Close() // it was only looked for
			}
			left = append(left, fmt.Sprint(id))
		}
		if len(left) == 0 {
			return nil
		}
		if time.Since(began) > limit {
			return fmt.Errorf("remove hooks: their pins are gone, and links %s remain: a process holds them; find it with bpftool -f link show, and end it", strings.Join(left, ", "))
		}
	}
}

// Close lets agents of the instance start again.
func (i *Installation) Close() error { return i.pins.release() }

// holderOf says which process has the lock of a folder, as far as that can be seen from
// here: a process of another container cannot.
func holderOf(folder string) string {
	var is unix.Stat_t
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	if err := unix.Stat(folder, &is); err != nil {
		return ""
	}
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(is.Dev), unix.Minor(is.Dev), is.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK ADVISORY WRITE 1234 00:2a:567 0 EOF
		field := strings.Fields(lines.Text())
		if len(field) > 5 && field[1] == "FLOCK" && field[3] == "WRITE" && field[5] == inode && field[4] != "0" {
			return " (process " + field[4] + ")"
		}
	}
	return ""
}
