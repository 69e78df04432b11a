//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// What an agent left is removed, of whatever layout, though a process holds one of its
// hooks, and not while the agent runs.
func TestUninstall(t *testing.T) {
	h := newClosedHost(t)
	bpffs, instance := h.config.BPFFS, h.config.Instance
	c := h.start(t, "billing")
	_, err := FindInstallation(bpffs, instance)
	if says := fmt.Sprintf("(process %d)", os.Getpid()); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), says) {
		t.Errorf("while an agent runs: %v, want that, and %s", err, says)
	}
	other := pinOtherLayout(t, h.config)
	pins := h.pinnedLinks(t)
	held, err := link.LoadPinnedLink(filepath.Join(h.probe.pins.links(), fmt.Sprintf("connect4-%d", h.cgroup.ID)), nil)
	must(t, err)
	defer held.Close()
	if folder := LeftBehind(bpffs, instance); folder != "" {
		t.Errorf("an agent that runs has left behind %s", folder)
	}
	must(t, h.leave())
	if folder := LeftBehind(bpffs, instance); folder != filepath.Join(bpffs, "lanyard", instance) {
		t.Errorf("an agent that has ended has left behind %q", folder)
	}
	requireErrno(t, "connect to closed while no agent runs", c.connect(t, at(target4)), unix.ECONNREFUSED)

	left, err := FindInstallation(bpffs, instance)
	must(t, err)
	if len(left.Hooks) != len(pins) || left.Maps < 2 || left.Folder != filepath.Join(bpffs, "lanyard", instance) {
		t.Errorf("found %+v", left)
	}
	if _, err := openAgent(h.config, here); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("an agent starts while its pins are removed: %v", err)
	}
	left.patience = time.Second
	if err := left.Remove(); err == nil || !strings.Contains(err.Error(), "a process holds them") {
		t.Errorf("of a hook that a process holds: %v", err)
	}
	requireErrno(t, "connect to closed after that", c.connect(t, at(target4)), 0) // detached all the same
	must(t, held.Close())
	left.patience = goneLimit
	must(t, left.Remove())
	must(t, left.Close())
	if remain := lab.Pins(t, bpffs); len(remain) > 0 {
		t.Errorf("pins remain: %v (that of another layout is %s)", remain, other)
	}
	if _, err := os.Stat(filepath.Join(bpffs, "lanyard")); !os.IsNotExist(err) {
		t.Errorf("the folder remains (%v)", err)
	}
	h.startAgent(t) // for the cleanup
}

// Where nothing is, that is no error, and nothing is made.
func TestUninstallNothing(t *testing.T) {
	lab.RequireRoot(t)
	for name, bpffs := range map[string]string{
		"no folder": filepath.Join(t.TempDir(), "none"), "no BPF file system": t.TempDir(), "no pins": lab.NewBPFFS(t),
	} {
		if left, err := FindInstallation(bpffs, "default"); left != nil || err != nil {
			t.Errorf("%s: found %+v, %v", name, left, err)
		}
		if folder := LeftBehind(bpffs, "default"); folder != "" {
			t.Errorf("%s: pins are in %s", name, folder)
		}
	}
	if _, err := FindInstallation(t.TempDir(), "../x"); err == nil {
		t.Error("a name that leads elsewhere is taken")
	}
}
