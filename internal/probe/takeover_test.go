//go:build linux

package probe

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// pinnedLinks returns the kernel's ids of the pinned links.
func (h *host) pinnedLinks(t *testing.T) map[string]link.ID {
	t.Helper()
	folder := h.probe.pins.links()
	entries, err := os.ReadDir(folder)
	must(t, err)
	ids := map[string]link.ID{}
	for _, e := range entries {
		l, err := link.LoadPinnedLink(filepath.Join(folder, e.Name()), nil)
		must(t, err)
		info, err := l.Info()
		must(t, err)
		ids[e.Name()] = info.ID
		l.Close()
	}
	return ids
}

// pinnedMaps returns the kernel's ids of the pinned maps.
func (h *host) pinnedMaps(t *testing.T) map[string]ebpf.MapID {
	t.Helper()
	folder := h.probe.pins.maps()
	entries, err := os.ReadDir(folder)
	must(t, err)
	ids := map[string]ebpf.MapID{}
	for _, e := range entries {
		m, err := ebpf.LoadPinnedMap(filepath.Join(folder, e.Name()), nil)
		must(t, err)
		info, err := m.Info()
		must(t, err)
		ids[e.Name()], _ = info.ID()
		m.Close()
	}
	return ids
}

// A killed agent leaves its hooks, which hold the fail policy; the next one takes
// them over without a moment between.
func TestTakeover(t *testing.T) {
	h := newClosedHost(t)
	billing, place := copyOf(t, "billing"), lab.Place{Cgroup: h.cgroup, Net: h.net}
	h.watchExactly(t, billing, unwatched)
	c := h.startIn(t, billing, place)
	candidate, bystander := h.startIn(t, billing, place), h.start(t, "curl")
	c.connect(t, at(target4)) // nobody will accept this one
	if pending := h.probe.Pending(); pending != 1 {
		t.Errorf("%d connections wait to be accepted, want 1", pending)
	}
	generation := h.probe.settings.Generation
	links := h.pinnedLinks(t)

	must(t, h.leave())
	requireErrno(t, "connect to closed while no agent runs", c.connect(t, at(target4)), unix.ECONNREFUSED)
	candidate.do(t, request{Do: "hammer", Addr: at(target4), Number: 1})
	bystander.do(t, request{Do: "hammer", Addr: at(target4), Number: 1})
	for range 3 {
		h.startAgent(t)
		must(t, h.leave())
	}
	h.startAgent(t)
	h.run()
	must(t, h.probe.beat())
	refused := candidate.do(t, request{Do: "stop hammer"}).Counts
	if n := refused[unix.ECONNREFUSED.Error()]; n == 0 || len(refused) != 1 {
		t.Errorf("during the takeover a candidate's connects to a closed destination ended so: %v; want all refused", refused)
	}
	passed := bystander.do(t, request{Do: "stop hammer"}).Counts
	if n := passed["D"]; n == 0 || len(passed) != 1 {
		t.Errorf("during the takeover a bystander's connects ended so: %v; want all at the destination", passed)
	}
	if now := h.pinnedLinks(t); len(now) != len(links) {
		t.Errorf("links are %v, were %v", now, links)
	} else {
		for name, id := range links {
			if now[name] != id {
				t.Errorf("link %s is %d, was %d: it was not taken over", name, now[name], id)
			}
		}
	}

	if pending := h.probe.Pending(); pending != 0 { // it ended with the listener
		t.Errorf("%d connections wait to be accepted, want none", pending)
	}
	if h.probe.settings.Generation != generation {
		t.Errorf("generation is %d, was %d", h.probe.settings.Generation, generation)
	}
	must(t, h.listen(h.net.Do))
	for _, addr := range []string{at(target4), "10.98.0.1:8081"} { // watched still, before any Apply
		requireErrno(t, "connect", c.connect(t, addr), 0)
		if flow := h.claim(t, unix.AF_INET); flow.Original != unmapped(t, addr) {
			t.Errorf("flow is to %v, want %s", flow.Original, addr)
		}
	}
	h.serve(t, "10.98.0.1:8081", "D")
	h.watch(t, everyone(watched)) // knows what the former agent watched
	counts := h.counts(t, func() { c.connect(t, "10.98.0.1:8081") })
	requireCount(t, counts, "watched", 0)
}

// What narrowed a port, and what is closed, is known to the next agent, which can
// thus take it back.
func TestTakeoverKnowsPrefixes(t *testing.T) {
	h := newClosedHost(t)
	narrowed := everyone(watched)
	narrowed.Ports[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("10.98.0.0/24")}
	h.watch(t, narrowed)
	must(t, h.leave())
	h.startAgent(t)
	c := h.start(t, "billing")
	requireErrno(t, "connect to closed", c.connect(t, at(target4)), unix.ECONNREFUSED)
	must(t, h.probe.SetClosed(nil))
	requireErrno(t, "connect to what was closed", c.connect(t, at(target4)), 0)
	narrowed.Ports[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("10.97.0.0/24")}
	h.watch(t, narrowed)
	counts := h.counts(t, func() { c.connect(t, at(target4)) })
	requireCount(t, counts, "watched", 0)
}

// An agent that takes over with the conditions that are in force makes nobody a
// candidate, though it has no listener yet.
func TestTakeoverWithTheSameConditions(t *testing.T) {
	h := newClosedHost(t)
	billing := copyOf(t, "billing")
	same := h.watchExactly(t, billing)
	must(t, h.leave())
	candidate, bystander := h.startIn(t, billing, lab.Place{Cgroup: h.cgroup, Net: h.net}), h.start(t, "curl")
	for _, c := range []*process{candidate, bystander} {
		c.do(t, request{Do: "hammer", Addr: at(target4), Number: 1})
	}
	for range 3 {
		h.startAgent(t)
		h.watch(t, same)
		must(t, h.leave())
	}
	h.startAgent(t)
	for c, want := range map[*process]string{candidate: unix.ECONNREFUSED.Error(), bystander: "D"} {
		got := c.do(t, request{Do: "stop hammer"}).Counts
		if n := got[want]; n == 0 || len(got) != 1 {
			t.Errorf("connects ended so: %v; want all %q", got, want)
		}
	}
}

func TestTakeoverForAnotherCgroup(t *testing.T) {
	h := newHost(t)
	old := h.start(t, "billing")
	must(t, h.leave())
	h.cgroup = lab.NewCgroup(t)
	h.config.Cgroup = h.cgroup.Path
	h.startAgent(t)
	must(t, h.listen(h.net.Do))
	h.run()
	must(t, h.probe.beat())
	h.serve(t, at(target4), "D")
	counts := h.counts(t, func() { requireErrno(t, "connect in the old cgroup", old.connect(t, at(target4)), 0) })
	if len(counts) != 0 {
		t.Errorf("the kernel counted %v in a cgroup that is not attached to any more", counts)
	}
	h.requireCandidate(t, h.start(t, "billing"), true)
	for name := range h.pinnedLinks(t) {
		hook, _, _ := strings.Cut(name, "-")
		if slices.Contains([]string{"exec", "fork", "exit"}, hook) {
			continue
		}
		want := []string{hook + "-" + strconv.FormatUint(h.cgroup.ID, 10)}
		if hook == sockopsHook { // also where the listeners are
			want = append(want, hook+"-"+strconv.FormatUint(h.probe.hookSet.own, 10))
		}
		if !slices.Contains(want, name) {
			t.Errorf("link %s is pinned, want %v", name, want)
		}
	}
}

func TestOneAgentForEachInstance(t *testing.T) {
	h := newHost(t)
	_, err := openAgent(h.config, here)
	if err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent of the same instance: %v", err)
	}
	h.requireCandidate(t, h.start(t, "billing"), true) // the first goes on
	other := h.config
	other.Instance, other.Cgroup = "other", lab.NewCgroup(t).Path
	second, err := openAgent(other, here)
	must(t, err)
	must(t, second.close())
	h.requireCandidate(t, h.start(t, "billing"), true)
}

func TestKilledAgentIsReplaced(t *testing.T) {
	h := newBareHost(t)
	killed := h.start(t, "lanyard")
	killed.do(t, request{Do: "open agent", Agent: h.config})
	killed.do(t, request{Do: "listen as agent"})
	killed.do(t, request{Do: "watch", Number: watched})
	killed.do(t, request{Do: "run agent"})
	killed.end(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	requireErrno(t, "connect while no agent runs", c.connect(t, at(target4)), 0)
	h.startAgent(t)
	must(t, h.listen(h.net.Do))
	h.run()
	must(t, h.probe.beat())
	h.requireCandidate(t, c, true)
}

func TestCloseLeavesNothing(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	h.serve(t, at(target4), "D")
	held := lab.HeldBPF(t, os.Getpid())
	if len(held.Links) == 0 || len(held.Programs) == 0 {
		t.Fatalf("the probe holds %+v", held)
	}
	must(t, h.close())
	if pins := lab.Pins(t, h.config.BPFFS); len(pins) != 0 {
		t.Errorf("pins remain: %v", pins)
	}
	if _, err := os.Stat(filepath.Join(h.config.BPFFS, "lanyard")); !os.IsNotExist(err) {
		t.Errorf("the pin folder remains (%v)", err)
	}
	lab.BPFObjects{Links: held.Links, Programs: held.Programs}.RequireGone(t)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
		t.Errorf("read %q, want the destination's own greeting", greeting)
	}
	h.startAgent(t) // for the cleanup
}

// A program that somebody attached for himself alone keeps ours away.
func TestFailedOpenLeavesNothing(t *testing.T) {
	h := newBareHost(t)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet6Connect, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	must(t, err)
	defer program.Close()
	folder, err := os.Open(h.cgroup.Path)
	must(t, err)
	defer folder.Close()
	alone := link.RawAttachProgramOptions{Target: int(folder.Fd()), Program: program, Attach: ebpf.AttachCGroupInet6Connect}
	must(t, link.RawAttachProgram(alone))
	otherPin := pinOtherLayout(t, h.config)
	_, err = openAgent(h.config, here)
	if err == nil || !strings.Contains(err.Error(), "connect6") {
		t.Errorf("open: %v, want an error that names connect6", err)
	}
	if pins := lab.Pins(t, h.config.BPFFS); !slices.Equal(pins, []string{otherPin}) {
		t.Errorf("pins are %v, want the other layout's alone", pins)
	}
	must(t, os.RemoveAll(filepath.Join(h.config.BPFFS, "lanyard")))
	must(t, link.RawDetachProgram(link.RawDetachProgramOptions{
		Target: int(folder.Fd()), Program: program, Attach: ebpf.AttachCGroupInet6Connect,
	}))

	// What a former agent left stays, though: it holds the fail policy.
	h.startAgent(t)
	must(t, h.leave())
	before := lab.Pins(t, h.config.BPFFS)
	bad := h.config
	bad.Cgroup = t.TempDir()
	if _, err := openAgent(bad, here); err == nil || !strings.Contains(err.Error(), "not a cgroup2 folder") {
		t.Errorf("open at no cgroup: %v", err)
	}
	if after := lab.Pins(t, h.config.BPFFS); !slices.Equal(before, after) {
		t.Errorf("pins are %v, were %v", after, before)
	}
	h.startAgent(t)
}

// Pins of another version of the layout go once the new hooks are attached.
func TestPinsOfAnotherVersionAreRemoved(t *testing.T) {
	h := newBareHost(t)
	old := filepath.Dir(filepath.Dir(filepath.Join(h.config.BPFFS, pinOtherLayout(t, h.config))))
	h.startAgent(t)
	if _, err := os.Stat(old); err != nil {
		t.Errorf("the other version's pins, which hold its fail policy, are gone before this one answers: %v", err)
	}
	must(t, h.probe.Replace())
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the other version's pins remain (%v)", err)
	}
	for folder := h.probe.pins.maps(); folder != h.config.BPFFS; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", folder, info.Mode())
		}
	}
	if want := filepath.Join(h.config.BPFFS, "lanyard", h.config.Instance); h.probe.PinFolder() != want {
		t.Errorf("pin folder is %s, want %s", h.probe.PinFolder(), want)
	}
}

func TestInstanceNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a.b", "é", strings.Repeat("x", 65)} {
		if _, err := openPins(t.TempDir(), name, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "instance") {
			t.Errorf("instance %q: %v", name, err)
		}
	}
}

// pinOtherLayout pins a map as an agent with another layout did, and returns where, below
// the BPF file system.
func pinOtherLayout(t *testing.T, config Config) string {
	t.Helper()
	pin := filepath.Join("lanyard", config.Instance, "v0", "maps", "flows")
	must(t, os.MkdirAll(filepath.Join(config.BPFFS, filepath.Dir(pin)), 0o755))
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(t, err)
	defer m.Close()
	must(t, m.Pin(filepath.Join(config.BPFFS, pin)))
	return pin
}
