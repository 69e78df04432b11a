//go:build linux

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// requireDead waits until the probe says of dead agents what is wanted: nothing, if that
// is "".
func (h *host) requireDead(t *testing.T, says string) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error { return checkDead(h.probe, says) })
}

func checkDead(p *Probe, says string) error {
	switch err := p.DeadAgents(); {
	case says == "" && err != nil:
		return fmt.Errorf("of dead agents: %w", err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		return fmt.Errorf("of dead agents the probe says %v, want %q", err, says)
	}
	return nil
}

// look has a probe that does not run look twice, which what has no pin takes, and
// requires what it says then.
func (h *host) look(t *testing.T, says string) {
	t.Helper()
	h.probe.deadAgents.look()
	h.probe.deadAgents.look()
	if err := checkDead(h.probe, says); err != nil {
		t.Error(err)
	}
	if failed := h.probe.deadAgents.failed; failed != "" {
		t.Errorf("the look failed: %s", failed)
	}
}

// startElsewhere starts an agent that does not take over what stands in the folder of
// the former one, and does not beat.
func (h *host) startElsewhere(t *testing.T) {
	t.Helper()
	h.config.Instance = "second"
	h.startAgent(t)
	h.probe.deadAgents.young = 0
}

// Hooks that a dead agent left pinned below another name than that of the agent which
// runs now refuse what they were told to. It is said where they are; once they are
// removed there, connections are redirected.
func TestHooksOfADeadInstance(t *testing.T) {
	for _, test := range []struct {
		name  string
		start func(*testing.T, *host)
		left  string
	}{
		{"another instance", func(t *testing.T, h *host) {
			must(t, h.leave())
			h.startElsewhere(t)
		}, "test"},
		{"its folder was moved", func(t *testing.T, h *host) {
			must(t, h.leave())
			folder := h.probe.pins.parent()
			must(t, os.Rename(filepath.Join(folder, "test"), filepath.Join(folder, "old")))
			h.startAgent(t)
		}, "old"},
		{"it dies beside the other", func(t *testing.T, h *host) {
			first := h.agent
			h.startElsewhere(t)
			h.look(t, "")
			must(t, first.leave())
		}, "test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newClosedHost(t)
			c := h.start(t, "billing")
			left := filepath.Join(h.probe.pins.parent(), test.left)
			test.start(t, h)
			removed := false
			defer func() {
				if !removed {
					must(t, os.RemoveAll(left))
				}
			}()
			must(t, h.listen(h.net.Do))
			h.run()
			must(t, h.probe.beat())
			h.watch(t, everyone(watched))
			h.requireDead(t, "hooks of instance "+test.left+", whose agent is stopped or dead, refuse what they were told to: "+
				"start that agent again, or remove them with rm -r "+left)
			if says := h.probe.DeadAgents().Error(); strings.Contains(says, "no pin") {
				t.Errorf("hooks that are pinned are said not to be: %s", says)
			}
			must(t, h.probe.Hooks())
			must(t, h.probe.Pins())
			requireErrno(t, "connect", c.connect(t, at(target4)), unix.ECONNREFUSED)
			must(t, os.RemoveAll(left))
			removed = true
			h.requireDead(t, "")
			h.awaitRedirected(t, c)
		})
	}
}

// The hooks of a dead agent of which no pin can be seen.
func TestHooksOfADeadAgentWithoutPins(t *testing.T) {
	for _, test := range []struct {
		name string
		hold func(*testing.T, *host) (release func())
	}{
		{"held by a process", func(t *testing.T, h *host) func() {
			held := h.loadLinks(t)
			must(t, os.RemoveAll(h.probe.pins.parent()))
			return func() {
				for _, l := range held {
					must(t, l.Close())
				}
			}
		}},
		{"in a file system that was unmounted", func(t *testing.T, h *host) func() {
			return mountAnew(t, h.config.BPFFS)
		}},
		{"pinned elsewhere", func(t *testing.T, h *host) func() {
			elsewhere := filepath.Join(h.config.BPFFS, "elsewhere")
			must(t, os.Rename(h.probe.pins.parent(), elsewhere))
			return func() { must(t, os.RemoveAll(elsewhere)) }
		}},
		{"on the cgroup above", func(t *testing.T, h *host) func() {
			h.config.Cgroup = h.cgroup.Sub(t, "below").Path
			return mountAnew(t, h.config.BPFFS)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newClosedHost(t)
			must(t, h.halt())
			h.beatAgo(t, heartbeatLimit)
			must(t, h.probe.Leave())
			release := test.hold(t, h)
			defer func() { release() }()
			h.startAgent(t)
			h.look(t, "") // an agent that starts is not a dead one
			h.probe.deadAgents.young = 0
			h.look(t, "of which no pin is below "+h.probe.pins.parent())
			if !twoPrograms.MatchString(h.probe.DeadAgents().Error()) {
				t.Errorf("of two connect hooks the probe says %v", h.probe.DeadAgents())
			}
			release()
			release = func() {}
			lab.Eventually(t, waitLimit, func() error {
				h.probe.deadAgents.look()
				return checkDead(h.probe, "")
			})
		})
	}
}

var twoPrograms = regexp.MustCompile(`\(programs \d+, \d+\)`)

// mountAnew mounts another BPF file system in place of one that is held open until
// release, as by a process whose working directory is in it.
func mountAnew(t *testing.T, path string) (release func()) {
	t.Helper()
	held := openDir(t, path)
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	must(t, unix.Mount("bpf", path, "bpf", 0, "mode=0700"))
	return func() { must(t, held.Close()) }
}

// loadLinks opens all pinned links.
func (h *host) loadLinks(t *testing.T) (links []link.Link) {
	t.Helper()
	for name := range h.pinnedLinks(t) {
		l, err := link.LoadPinnedLink(filepath.Join(h.probe.pins.links(), name), nil)
		must(t, err)
		links = append(links, l)
	}
	return links
}

// An agent that lives beside another is never taken for a dead one: neither where it
// hangs, nor where its pins cannot be seen.
func TestAgentThatLivesIsNotDead(t *testing.T) {
	h := newClosedHost(t)
	first := *h
	h.startElsewhere(t)
	h.look(t, "")
	must(t, first.halt())
	first.beatAgo(t, 2*heartbeatLimit)
	h.look(t, "")
	must(t, first.close())
	h.look(t, "")

	config := h.config
	config.BPFFS = lab.NewBPFFS(t)
	hidden, err := openAgent(config, h.net.Do)
	must(t, err)
	defer func() { must(t, hidden.close()) }()
	must(t, hidden.probe.beat())
	h.look(t, "")
	first.agent = hidden
	first.beatAgo(t, 2*heartbeatLimit)
	h.look(t, "of which no pin is below")
}

// What a dead agent left is not said to refuse if it cannot: once its cgroup is gone,
// it is asked by nobody.
func TestDeadAgentOfACgroupThatIsGone(t *testing.T) {
	h := newBareHost(t)
	unit := h.cgroup.Sub(t, "unit")
	h.config.Cgroup = unit.Path
	h.startAgent(t)
	left := h.probe.pins.instance
	must(t, h.leave())
	defer func() { must(t, os.RemoveAll(left)) }()
	h.config.Cgroup = h.cgroup.Path
	h.startElsewhere(t)
	h.look(t, "hooks of instance test")
	must(t, unix.Rmdir(unit.Path))
	lab.Eventually(t, waitLimit, func() error {
		h.probe.deadAgents.look()
		return checkDead(h.probe, "")
	})
}

// Many dead agents make no endless message, and each change is logged once.
func TestDeadAgentsAreToldOnce(t *testing.T) {
	h := newBareHost(t)
	for i := range maxNamed + 2 {
		h.config.Instance = fmt.Sprintf("dead%d", i)
		h.startAgent(t)
		must(t, h.leave())
	}
	parent := h.probe.pins.parent()
	defer func() {
		for i := range maxNamed + 2 {
			must(t, os.RemoveAll(filepath.Join(parent, fmt.Sprintf("dead%d", i))))
		}
	}()
	h.startElsewhere(t)
	var lines bytes.Buffer
	h.probe.deadAgents.log = slog.New(slog.NewTextHandler(&lines, nil))
	for range 3 {
		h.look(t, "; and those of 2 more in "+parent)
	}
	if n := strings.Count(h.probe.DeadAgents().Error(), "rm -r"); n != maxNamed {
		t.Errorf("%d folders are named, want %d", n, maxNamed)
	}
	if lines.Len() != 0 {
		t.Errorf("without a change this was logged: %s", &lines)
	}
	others := func() int {
		programs, err := h.probe.deadAgents.otherPrograms()
		must(t, err)
		return len(programs)
	}
	attached := others()
	must(t, os.RemoveAll(filepath.Join(parent, "dead0")))
	lab.Eventually(t, waitLimit, func() error { // a program runs a moment longer than its pin is there
		if n := others(); n != attached-len(connectHooks) {
			return fmt.Errorf("%d programs of others are attached, were %d", n, attached)
		}
		return nil
	})
	for range 3 {
		h.look(t, "; and those of 1 more in "+parent)
	}
	if n := strings.Count(lines.String(), "level=ERROR"); n != 1 {
		t.Errorf("a change was logged so: %s", &lines)
	}
	before := h.probe.DeadAgents()
	h.probe.deadAgents.cgroup, h.probe.deadAgents.pins = t.TempDir(), &pinFolder{instance: filepath.Join(t.TempDir(), "none", "none")}
	for range 3 {
		h.probe.deadAgents.look()
	}
	if now := h.probe.DeadAgents(); now == nil || now.Error() != before.Error() {
		t.Errorf("an agent that cannot look says %v, said %v", now, before)
	}
	if n := strings.Count(lines.String(), "level=WARN"); n != 1 || !strings.Contains(lines.String(), "not a cgroup2 folder") {
		t.Errorf("that it cannot look was logged so: %s", &lines)
	}
}

// A program that runs a moment longer than its pin is there is no dead agent's.
func TestOrphansAreLookedAtTwice(t *testing.T) {
	h := newBareHost(t)
	h.startAgent(t)
	held := h.loadLinks(t)
	must(t, h.leave())
	must(t, os.RemoveAll(h.probe.pins.parent()))
	h.startElsewhere(t)
	h.probe.deadAgents.suspects = nil
	h.probe.deadAgents.look()
	must(t, checkDead(h.probe, ""))
	h.probe.deadAgents.look()
	must(t, checkDead(h.probe, "no pin"))
	for _, l := range held {
		must(t, l.Close())
	}
}

// An agent that looks whether one is dead does not keep that from starting.
func TestLookDoesNotKeepAnAgentFromStarting(t *testing.T) {
	h := newHost(t)
	must(t, h.leave())
	looking := openDir(t, h.probe.pins.instance)
	must(t, unix.Flock(int(looking.Fd()), unix.LOCK_SH))
	if locked, err := isLocked(h.probe.pins.instance); err != nil || locked {
		t.Errorf("one that looks takes another that looks for an agent: %v (%v)", locked, err)
	}
	done := make(chan error, 1)
	go func() {
		time.Sleep(lockPatience / 5) // what it takes the other to look
		done <- looking.Close()
	}()
	h.startAgent(t)
	must(t, <-done)
	locked, err := isLocked(h.probe.pins.instance)
	if err != nil || !locked {
		t.Errorf("the folder of an agent that runs is locked: %v (%v)", locked, err)
	}
	if _, err := isLocked(filepath.Join(h.config.BPFFS, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of an absent folder: %v", err)
	}
}
