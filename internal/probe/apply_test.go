//go:build linux

package probe

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// injectAll accepts what is redirected and greets it as the injector, until the
// listener is closed. It counts what has no flow.
func (h *host) injectAll(t testing.TB) (stop func() (lost int)) {
	t.Helper()
	listener := h.listeners[unix.AF_INET]
	must(t, listener.SetDeadline(time.Time{}))
	done := make(chan int)
	go func() {
		lost := 0
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				done <- lost
				return
			}
			if flow, err := h.probe.Lookup(conn); err != nil {
				lost++
			} else {
				_, _ = conn.Write([]byte("I"))
				h.probe.Release(flow)
			}
			conn.Close()
		}
	}()
	return func() int {
		listener.Close()
		delete(h.listeners, unix.AF_INET)
		return <-done
	}
}

// While the configuration changes, a program that both the old and the new one
// know is never passed by.
func TestReloadUnderLoad(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	stop := h.injectAll(t)
	c := h.start(t, "billing")
	watch := func(i int) workload.Watch {
		conditions := strangers(3)
		conditions[i%3] = named("billing")
		port := workload.WatchedPort{Port: watched}
		if i%2 == 0 {
			port.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(target4), 16+i%16)}
		}
		return workload.Watch{Ports: []workload.WatchedPort{port}, Conditions: conditions}
	}
	h.watch(t, watch(0))
	c.do(t, request{Do: "hammer", Addr: at(target4), Number: 2})
	const reloads = 100
	for i := range reloads {
		h.watch(t, watch(i))
	}
	counts := c.do(t, request{Do: "stop hammer"}).Counts
	if counts["I"] == 0 || len(counts) != 1 {
		t.Errorf("during %d reloads connects ended so: %v; want all at the injector", reloads, counts)
	}
	if lost := stop(); lost != 0 {
		t.Errorf("%d connections had no flow", lost)
	}
}

func TestLiveRunsWhileBothAreWatched(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	next := workload.Watch{Ports: []workload.WatchedPort{{Port: unwatched}}, Conditions: []workload.Condition{named("curl")}}
	must(t, h.probe.Apply(next, func() {
		for _, addr := range []string{at(target4), "10.98.0.1:8081"} {
			requireErrno(t, "connect during a reload", c.connect(t, addr), 0)
			h.claim(t, unix.AF_INET)
		}
	}))
	h.serve(t, at(target4), "D")
	counts := h.counts(t, func() { c.connect(t, at(target4)) })
	requireCount(t, counts, "watched", 0)
}

func prefixes(from byte, n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{from, 1, byte(i >> 8), byte(i)}), 32)
	}
	return list
}

func TestTooLargeWatchChangesNothing(t *testing.T) {
	h := newHost(t)
	h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: []workload.Condition{named("billing")}})
	c := h.start(t, "billing")
	users := workload.Condition{}
	for i := range maxConditions + 1 {
		users.UIDs = append(users.UIDs, uint32(i))
	}
	for name, w := range map[string]workload.Watch{
		"prefixes": {Ports: []workload.WatchedPort{{Port: unwatched, Prefixes: prefixes(10, maxPrefixes+1)}}},
		"names":    {Conditions: strangers(maxConditions + 1)},
		"users":    {Conditions: []workload.Condition{users}},
	} {
		before := h.probe.settings
		if err := h.probe.Apply(w, func() { t.Error("made live") }); err == nil {
			t.Errorf("too many %s were accepted", name)
		}
		if h.probe.settings != before {
			t.Errorf("too many %s: settings changed to %+v", name, h.probe.settings)
		}
		h.requireCandidate(t, c, true)
	}
}

// One full configuration can follow another.
func TestFullTableIsReplaced(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	for _, from := range []byte{10, 11, 12} {
		w := everyone(watched)
		w.Ports[0].Prefixes = append(prefixes(from, maxPrefixes-1), netip.MustParsePrefix(target4+"/32"))
		h.watch(t, w)
		h.requireCandidate(t, c, true)
	}
	w := everyone(watched)
	w.Ports[0].Prefixes = prefixes(10, 1)
	h.watch(t, w)
	if n := len(h.probe.prefixes); n != 1 {
		t.Errorf("%d prefixes remain", n)
	}
	counts := h.counts(t, func() { c.connect(t, at(target4)) })
	requireCount(t, counts, "watched", 0)
}
