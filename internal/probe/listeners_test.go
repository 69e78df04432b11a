//go:build linux

package probe

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// ofIdentities is how many of the listeners are for callers whose identity is known.
const ofIdentities = Listeners / 2

// arrival is a connection that came to one of many listeners.
type arrival struct {
	listener int
	flow     workload.Flow
}

// spread has the host's injector listen as often as it may, and returns what arrives.
func (h *host) spread(t *testing.T, family Family, loopback string) <-chan arrival {
	t.Helper()
	ready := Readiness{NetNS: h.cookie, Family: family, Routable: true}
	var arrivals <-chan arrival
	ready.Ports, arrivals = h.listenOften(t, loopback, h.probe.MarkInjector)
	must(t, h.probe.Ready(ready))
	return arrivals
}

// listenOften makes as many listeners as a family has of one kind, marks them, and
// returns where they are, and what arrives there.
func (h *host) listenOften(t *testing.T, loopback string, mark func(l syscall.Conn, port uint16) error) (ports Ports, arrivals <-chan arrival) {
	t.Helper()
	arrived := make(chan arrival, 1)
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	for i := range ports {
		listener, err := listenTCP(h.net.Do, net.JoinHostPort(loopback, "0"))
		must(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		must(t, mark(listener, portOf(listener)))
		ports[i] = portOf(listener)
		all.Go(func() {
			for {
				conn, err := listener.AcceptTCP()
				if err != nil {
					return
				}
				if flow, err := h.probe.Lookup(conn); err == nil {
					h.probe.Release(flow)
					arrived <- arrival{i, flow}
				}
				_ = conn.Close()
			}
		})
	}
	return ports, arrived
}

// arrive connects and returns where that came to.
func arrive(t *testing.T, c *process, to string, arrivals <-chan arrival) arrival {
	t.Helper()
	requireErrno(t, "connect", c.connect(t, to), 0)
	return next(t, arrivals)
}

// next returns what arrived.
func next(t *testing.T, arrivals <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		return a
	case <-time.After(waitLimit):
		t.Fatal("a redirected connection arrived nowhere")
		return arrival{}
	}
}

// Whose identity the kernel knows, because user space found it or by the kernel's own
// word, shares no listener with anybody else.
func TestIdentitiesHaveListenersOfTheirOwn(t *testing.T) {
	for family, at := range map[Family][2]string{unix.AF_INET: {target4, "127.0.0.1"}, unix.AF_INET6: {target6, "::1"}} {
		t.Run(at[0], func(t *testing.T) {
			h := newHost(t)
			h.rest(t)
			arrivals := h.spread(t, family, at[1])
			var watch workload.Watch
			var files []string
			for i := range 3 {
				name := fmt.Sprintf("program-%d", i)
				files = append(files, copyOf(t, name))
				watch.Conditions = append(watch.Conditions, workload.Condition{
					Identity: name, ExecutableNames: []string{name},
					Certain: &workload.Certainty{File: true, Files: files[i : i+1]},
				})
			}
			watch.Ports = []workload.WatchedPort{{Port: watched}}
			h.watch(t, watch)
			to := net.JoinHostPort(at[0], fmt.Sprint(watched))
			seen := map[int]string{}
			for i, file := range files {
				name := watch.Conditions[i].Identity
				c := h.startIn(t, file, lab.Place{Cgroup: h.cgroup, Net: h.net})
				must(t, h.probe.beat())
				first := arrive(t, c, to, arrivals)
				if first.listener < ofIdentities {
					t.Errorf("%s, which nobody knows yet, came to listener %d, where identities come", name, first.listener)
				}
				h.probe.Identified(first.flow, name)
				recalled := arrive(t, c, to, arrivals).listener
				if other, found := seen[recalled]; found || recalled >= ofIdentities {
					t.Errorf("%s came to listener %d, where others come: %s", name, recalled, other)
				}
				seen[recalled] = name
			}
			must(t, h.probe.learnPaths())
			for i, file := range files {
				c := h.startIn(t, file, lab.Place{Cgroup: h.cgroup, Net: h.net})
				must(t, h.probe.beat())
				if got := arrive(t, c, to, arrivals).listener; seen[got] != watch.Conditions[i].Identity {
					t.Errorf("%s is certain, and came to listener %d: those of the identities are %v", watch.Conditions[i].Identity, got, seen)
				}
			}
		})
	}
}

// Strangers come to one listener for each place, whatever users they take on, and those
// of another place mostly to another.
func TestStrangersComeToTheListenerOfTheirPlace(t *testing.T) {
	h := newHostIn(t, lab.NewSlice(t))
	h.watchFor(t, isFile(t, copyOf(t, "billing")))
	arrivals := h.spread(t, unix.AF_INET, "127.0.0.1")
	c := h.start(t, "billing")
	seen := map[int]int{}
	for place := range 16 {
		c.moveTo(t, nested(t, h.cgroup, "docker/"+strings.Repeat(fmt.Sprintf("%02x", place), 32)))
		one := -1
		for uid := range 4 {
			c.do(t, request{Do: "set euid", Number: 100_000 + uid})
			got := arrive(t, c, at(target4), arrivals).listener
			c.do(t, request{Do: "set euid"})
			if got < ofIdentities {
				t.Errorf("a stranger came to listener %d, where identities come", got)
			}
			if one >= 0 && got != one {
				t.Errorf("user %d of place %d came to listener %d, another to %d", uid, place, got, one)
			}
			one = got
		}
		seen[one]++
	}
	if len(seen) < 3 { // of 8: this happens by chance once in a billion times
		t.Errorf("16 places come to the listeners %v", seen)
	}
}
