//go:build linux

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// requireCandidate connects, and requires that the connection is redirected, or
// that it goes straight on as a bystander's.
func (h *host) requireCandidate(t *testing.T, c *process, candidate bool) {
	t.Helper()
	counts := h.counts(t, func() {
		requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	})
	if candidate {
		if counts["redirected"] != 1 { // claim would wait for a connection that does not come
			t.Fatalf("the kernel redirected %d connections, want 1; all: %v", counts["redirected"], counts)
		}
		h.claim(t, unix.AF_INET)
		return
	}
	requireCount(t, counts, "watched", 1)
	requireCount(t, counts, "bystander", 1)
	requireCount(t, counts, "candidate", 0)
	if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
		t.Errorf("the bystander read %q, want the destination's own greeting", greeting)
	}
}

func named(names ...string) workload.Condition {
	return workload.Condition{Identity: fmt.Sprint("named ", names), ExecutableNames: names}
}
func owned(uids ...uint32) workload.Condition {
	return workload.Condition{Identity: fmt.Sprint("owned by ", uids), UIDs: uids}
}
func both(name string, uid uint32) workload.Condition {
	return workload.Condition{Identity: fmt.Sprint(name, " owned by ", uid), ExecutableNames: []string{name}, UIDs: []uint32{uid}}
}

// strangers are identities that no caller of these tests can have.
func strangers(n int) []workload.Condition {
	conditions := make([]workload.Condition, n)
	for i := range conditions {
		conditions[i] = named("stranger-" + strconv.Itoa(i))
	}
	return conditions
}

func TestBystanders(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	const me, other = 4321, 4322
	c := h.start(t, "billing")
	c.do(t, request{Do: "setuid", Number: me})
	for _, test := range []struct {
		name       string
		conditions []workload.Condition
		candidate  bool
	}{
		{"no identity", nil, false},
		{"no condition", []workload.Condition{{}}, true},
		{"its name", []workload.Condition{named("billing")}, true},
		{"one of several names", []workload.Condition{named("curl", "billing")}, true},
		{"another name", []workload.Condition{named("curl")}, false},
		{"beginning of its name", []workload.Condition{named("bill")}, false},
		{"longer name", []workload.Condition{named("billing2")}, false},
		{"no name at all", []workload.Condition{named()}, true}, // nil is no condition
		{"empty list of names", []workload.Condition{{ExecutableNames: []string{}}}, false},
		{"name too long to tell", []workload.Condition{named(strings.Repeat("x", nameSize))}, true},
		{"longest name, another's", []workload.Condition{named(strings.Repeat("x", nameSize-1))}, false},
		{"its user", []workload.Condition{owned(me)}, true},
		{"another user", []workload.Condition{owned(other)}, false},
		{"name and user", []workload.Condition{both("billing", me)}, true},
		{"its name, another user", []workload.Condition{both("billing", other)}, false},
		{"its user, another name", []workload.Condition{both("curl", me)}, false},
		{"fails one condition of each", []workload.Condition{both("billing", other), both("curl", me)}, false},
		{"second identity", []workload.Condition{named("curl"), owned(me)}, true},
		{"names for one, users for the other", []workload.Condition{named("curl"), owned(other)}, false},
		{"70 others", strangers(70), false},
		{"70 others and its own", append(strangers(70), named("billing")), true},
		// Identity 0 fails by user, identity 64 by name, and they share a bit.
		{"shared bits", append(append([]workload.Condition{both("billing", other)}, strangers(63)...), both("curl", me)), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.watch(t, workload.Watch{}) // no identity has a bit
			h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: test.conditions})
			h.requireCandidate(t, c, test.candidate)
		})
	}
}

func TestExecutablesWithLongNames(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	longest, tooLong := strings.Repeat("n", nameSize-1), strings.Repeat("n", nameSize)
	for _, test := range []struct {
		name, executable, want string
		candidate              bool
	}{
		{"longest", longest, longest, true},
		{"longest, another", longest, "billing", false},
		{"too long", tooLong, "billing", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: []workload.Condition{named(test.want)}})
			h.requireCandidate(t, h.start(t, test.executable), test.candidate)
		})
	}
}

func TestBystandersByCgroup(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	in := func(want string) workload.Condition {
		return workload.Condition{Identity: "in " + want, Cgroup: func(path string) bool { return path == want }}
	}
	watch := func(conditions ...workload.Condition) {
		h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: conditions})
	}
	watch(in("/other"), named("curl"))
	h.requireCandidate(t, c, true) // not yet looked at: may be anything
	must(t, h.probe.LearnCgroup(h.cgroup.ID, h.cgroup.Name))
	h.requireCandidate(t, c, false)

	watch(in("/other"), in(h.cgroup.Name))
	h.requireCandidate(t, c, true) // what was learnt is void
	must(t, h.probe.LearnCgroup(h.cgroup.ID, h.cgroup.Name))
	h.requireCandidate(t, c, true)

	watch(workload.Condition{Identity: "curl there", ExecutableNames: []string{"curl"}, Cgroup: in(h.cgroup.Name).Cgroup})
	must(t, h.probe.LearnCgroup(h.cgroup.ID, h.cgroup.Name))
	h.requireCandidate(t, c, false) // the right cgroup, but the wrong name

	watch(named("billing"))
	must(t, h.probe.LearnCgroup(h.cgroup.ID, h.cgroup.Name)) // no identity asks for one
	h.requireCandidate(t, c, true)
}

func TestNarrowedPorts(t *testing.T) {
	h := newHost(t)
	h.net.AddLocal(t, "10.99.0.1/32", "fd99::1/128")
	c := h.start(t, "billing")
	prefixes := func(texts ...string) []netip.Prefix {
		parsed := []netip.Prefix{}
		for _, text := range texts {
			parsed = append(parsed, netip.MustParsePrefix(text))
		}
		return parsed
	}
	for _, test := range []struct {
		name    string
		ports   []workload.WatchedPort
		addr    string
		watched bool
	}{
		{"inside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.0.0/16")}}, "10.98.0.1", true},
		{"exactly", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.0.1/32")}}, "10.98.0.1", true},
		{"outside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.0.0/16")}}, "10.99.0.1", false},
		{"a bit outside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.0.0/32")}}, "10.98.0.1", false},
		{"host bits set", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.3.4/16")}}, "10.98.0.1", true},
		{"mapped, inside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.98.0.0/16")}}, "::ffff:10.98.0.1", true},
		{"second prefix", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.97.0.0/16", "10.99.0.0/24")}}, "10.99.0.1", true},
		{"IPv6 inside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("fd98::/16")}}, "fd98::1", true},
		{"IPv6 outside", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("fd98::/16")}}, "fd99::1", false},
		{"another port's prefix", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("10.97.0.0/16")}, {Port: unwatched, Prefixes: prefixes("10.98.0.0/16")}}, "10.98.0.1", false},
		{"no prefix", []workload.WatchedPort{{Port: watched, Prefixes: prefixes()}}, "10.98.0.1", false},
		{"everything IPv4", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("0.0.0.0/0")}}, "10.98.0.1", true},
		{"everything IPv4, not IPv6", []workload.WatchedPort{{Port: watched, Prefixes: prefixes("0.0.0.0/0")}}, "fd98::1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.watch(t, workload.Watch{Ports: test.ports, Conditions: []workload.Condition{{}}})
			counts := h.counts(t, func() { c.connect(t, at(test.addr)) })
			want := uint64(0)
			if test.watched {
				want = 1
			}
			requireCount(t, counts, "watched", want)
			requireCount(t, counts, "redirected", want)
		})
	}
}

func TestVerdicts(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	// pass has user space say that the caller has no identity, and requires that
	// the kernel remembers it.
	pass := func() {
		t.Helper()
		requireErrno(t, "connect", c.connect(t, at(target4)), 0)
		h.probe.Bystander(h.claim(t, unix.AF_INET))
		counts := h.counts(t, func() { c.connect(t, at(target4)) })
		requireCount(t, counts, "bystander_cached", 1)
		requireCount(t, counts, "candidate", 0)
		if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
			t.Fatalf("read %q, want the destination's own greeting", greeting)
		}
	}
	pass()
	t.Run("fork", func(t *testing.T) {
		counts := h.counts(t, func() { c.do(t, request{Do: "fork and connect", Addr: at(target4)}) })
		requireCount(t, counts, "redirected", 1)
		h.claim(t, unix.AF_INET)
	})
	t.Run("another process of the same executable", func(t *testing.T) {
		h.requireCandidate(t, h.start(t, "billing"), true)
	})
	t.Run("exec", func(t *testing.T) {
		c.exec(t, "exec", executable(t, "billing"))
		h.requireCandidate(t, c, true)
	})
	pass()
	t.Run("another configuration", func(t *testing.T) {
		h.watch(t, workload.Watch{Ports: []workload.WatchedPort{{Port: watched}}, Conditions: []workload.Condition{named("billing")}})
		h.watch(t, everyone(watched))
		h.requireCandidate(t, c, true)
	})
	pass()
	t.Run("another cgroup", func(t *testing.T) {
		sub := h.cgroup.Sub(t, "inner")
		move := func(path string) {
			must(t, os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(int(c.pid()))), 0))
		}
		move(sub.Path)
		h.requireCandidate(t, c, true)
		move(h.cgroup.Path)
	})
	t.Run("another group", func(t *testing.T) {
		c.do(t, request{Do: "setgid", Number: 4321})
		h.requireCandidate(t, c, true)
	})
	pass()
	t.Run("another user", func(t *testing.T) {
		c.do(t, request{Do: "setuid", Number: 4321})
		h.requireCandidate(t, c, true)
	})
}
