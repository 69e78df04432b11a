//go:build linux

package probe

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// A stop has the fail policy hold at once. Who was redirected before is still known, the
// ends of images are still seen, and nothing announces listeners again.
func TestStopRedirecting(t *testing.T) {
	h := newClosedHost(t)
	c := h.start(t, "billing")
	waiting := c.connect(t, at(target4))
	must(t, h.probe.StopRedirecting())
	must(t, h.probe.StopRedirecting())
	for family := range h.listeners {
		must(t, h.announce(family, true))
	}
	second := h.start(t, "billing")
	requireErrno(t, "connect to closed", second.connect(t, at(target4)), unix.ECONNREFUSED)
	requireErrno(t, "connect to open", second.connect(t, at(open4)), 0)
	flow := h.claim(t, unix.AF_INET)
	if flow.Client != unmapped(t, waiting.Local) {
		t.Errorf("flow is of %v, want %s", flow.Client, waiting.Local)
	}
	epoch := h.probe.Epoch(c.pid())
	c.end(t)
	h.requireEnded(t, flow.Image, epoch)
	must(t, h.leave())
	requireErrno(t, "connect to closed after the stop", second.connect(t, at(target4)), unix.ECONNREFUSED)
	h.startAgent(t) // for the cleanup
}

// Between redirecting and refusing there is no moment: a program that the kernel can tell
// connects all the while as agents stop, start in vain, and start.
func TestNoMomentBetween(t *testing.T) {
	h := newClosedHost(t)
	billing := copyOf(t, "billing")
	h.watchExactly(t, billing)
	candidate := h.startIn(t, billing, lab.Place{Cgroup: h.cgroup, Net: h.net})
	bystander := h.start(t, "curl")
	stop := h.injectAll(t)
	candidate.do(t, request{Do: "hammer", Addr: at(target4), Number: 2})
	bystander.do(t, request{Do: "hammer", Addr: at(target4), Number: 1})
	awaitRedirected(t, h.agent, 100)
	must(t, h.probe.StopRedirecting())
	stop()
	must(t, h.leave())
	bad := h.config
	bad.Cgroup = t.TempDir()
	for range 3 {
		if a, err := openAgent(bad, here); err == nil {
			t.Error("an agent starts at what is no cgroup")
			must(t, a.leave())
		}
	}
	h.startAgent(t)
	h.run()
	must(t, h.probe.beat())
	h.watchExactly(t, billing)
	must(t, h.listen(h.net.Do))
	stop = h.injectAll(t)
	awaitRedirected(t, h.agent, 100)
	must(t, h.probe.StopRedirecting())
	stop()
	counts := candidate.do(t, request{Do: "stop hammer"}).Counts
	t.Logf("counts: a candidate's connects ended so: %v", counts)
	if counts["D"] != 0 || counts["I"] < 200 || counts[unix.ECONNREFUSED.Error()] == 0 {
		t.Errorf("a candidate's connects ended so: %v; want some injected, some refused, and none at the destination", counts)
	}
	passed := bystander.do(t, request{Do: "stop hammer"}).Counts
	if len(passed) != 1 || passed["D"] == 0 {
		t.Errorf("a bystander's connects ended so: %v; want all at the destination", passed)
	}
}

// awaitRedirected waits until so many connections more were redirected.
func awaitRedirected(t *testing.T, a *agent, more uint64) {
	t.Helper()
	before, err := a.probe.Counters()
	must(t, err)
	lab.Eventually(t, waitLimit, func() error {
		now, err := a.probe.Counters()
		if err == nil && now["redirected"] < before["redirected"]+more {
			err = fmt.Errorf("%d connections were redirected, before that %d", now["redirected"], before["redirected"])
		}
		return err
	})
}

// An agent that fails to start leaves what the kernel goes by as it was, but for who the
// agent is.
func TestAbandonRestores(t *testing.T) {
	h := newClosedHost(t)
	billing := copyOf(t, "billing")
	h.watchExactly(t, billing)
	must(t, h.leave())
	c := h.startIn(t, billing, lab.Place{Cgroup: h.cgroup, Net: h.net})
	requireErrno(t, "connect while no agent runs", c.connect(t, at(target4)), unix.ECONNREFUSED)
	h.config.Connections /= 2
	h.startAgent(t)
	before, closed, files := *h.probe.former, maps.Clone(h.probe.closed), h.files(t)
	if h.probe.settings.SharedConnections == before.SharedConnections {
		t.Error("the kernel was not told how many connections the new agent may hold")
	}
	must(t, h.probe.Abandon())
	h.startAgent(t)
	if *h.probe.former != before || !maps.Equal(h.probe.closed, closed) || !slices.Equal(h.files(t), files) {
		t.Errorf("a start in vain left %+v, was %+v", *h.probe.former, before)
	}
	// One that fails as it tells the kernel of its configuration.
	must(t, h.probe.connect.WatchedPrefixes.Close())
	narrowed := everyone(unwatched)
	narrowed.Ports[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("10.98.0.0/24")}
	told := h.told(t)
	if err := h.probe.Apply(narrowed, func() { t.Error("in force") }); err == nil {
		t.Error("a configuration is in force of which the kernel could not be told")
	}
	if now := h.told(t); now != told {
		t.Errorf("while an agent runs a configuration in vain leaves %+v, was %+v", now, told)
	}
	must(t, h.probe.Abandon())
	h.startAgent(t)
	if *h.probe.former != before {
		t.Errorf("a configuration in vain left %+v, was %+v", *h.probe.former, before)
	}
	requireErrno(t, "connect after starts in vain", c.connect(t, at(target4)), unix.ECONNREFUSED)
}

// told returns what the kernel goes by.
func (h *host) told(t *testing.T) (now bpf.ConnectSettings) {
	t.Helper()
	must(t, h.probe.connect.SettingsNow.Lookup(uint32(0), &now))
	return now
}

// files lists the files that the kernel can tell for certain.
func (h *host) files(t *testing.T) []string {
	t.Helper()
	all, err := entriesOf[bpf.ConnectFileId, uint64](h.probe.connect.Files)
	must(t, err)
	var list []string
	for file, mask := range all {
		list = append(list, fmt.Sprintf("%+v %x", file, mask))
	}
	slices.Sort(list)
	return list
}

// A ring that cannot be read is opened again, and the agent goes on.
func TestEventsAreReadAgain(t *testing.T) {
	h := newHost(t)
	must(t, h.probe.closeEvents()) // under the reader
	lab.Eventually(t, waitLimit, func() error {
		if h.probe.Events() == nil {
			return fmt.Errorf("a ring that is closed counts as read")
		}
		return nil
	})
	lab.Eventually(t, waitLimit, h.probe.Events)
	c := h.start(t, "billing")
	c.connect(t, at(target4))
	flow := h.claim(t, unix.AF_INET)
	epoch := h.probe.Epoch(c.pid())
	c.end(t)
	h.requireEnded(t, flow.Image, epoch)
	lab.Eventually(t, waitLimit, func() error { return h.hasEnded(flow.Image) })
}

// A reload that changes no identity leaves no moment in which the kernel is not sure of
// any, also where one has a pattern of cgroups that only user space can judge: an agent
// that died then would leave it so.
func TestReloadKeepsCertainty(t *testing.T) {
	h := newClosedHost(t)
	billing := copyOf(t, "billing")
	w := h.watchExactly(t, billing)
	w.Conditions = append(w.Conditions, workload.Condition{
		Identity: "pattern", Selector: "cgroup: /some*", ExecutableNames: []string{"other"},
		Cgroup: func(path string) bool { return strings.HasPrefix(path, "/some") },
	})
	h.watch(t, w)
	must(t, h.probe.learnPaths())
	before := h.told(t)
	c := h.startIn(t, billing, lab.Place{Cgroup: h.cgroup, Net: h.net})
	live := func() {
		if now := h.told(t); now != before || now.Exact == 0 {
			t.Errorf("during a reload the kernel goes by %+v, before by %+v", now, before)
		}
		requireErrno(t, "connect to closed during a reload", c.connect(t, at(target4)), unix.ECONNREFUSED)
	}
	must(t, h.probe.StopRedirecting())
	w.Ports = append(w.Ports, workload.WatchedPort{Port: unwatched})
	must(t, h.probe.Apply(w, live))
	if now := h.told(t); now != before {
		t.Errorf("after it the kernel goes by %+v", now)
	}
}
