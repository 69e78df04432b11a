//go:build linux

package probe

import (
	"net/netip"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// Whom a closed destination refuses while no agent answers: identities that it
// lists, where they are told; and what only might be one as the operator wrote.
func TestUnknownCallers(t *testing.T) {
	h := newSilentHost(t)
	foreign := &host{agent: h.agent, cgroup: h.cgroup, net: lab.NewNetNS(t)}
	foreign.net.AddLocal(t, target4+"/32", target6+"/128")
	for _, address := range []string{target4, target6} {
		foreign.serve(t, at(address), "D")
	}
	h.probe.mu.Lock() // as an agent of this namespace
	h.probe.settings.HomeNetns = h.cookie
	must(t, h.probe.putSettings())
	h.probe.mu.Unlock()
	file := copyOf(t, "billing")
	h.watchFor(t, isFile(t, file), selected(t, "other", workload.SelectorSpec{Executables: []string{"/**/other"}, AnyUser: true}))
	certain, unknown, unlisted := h.startIn(t, file, h.place()), h.start(t, "billing"), h.start(t, "other")
	certainAway := foreign.startIn(t, file, foreign.place())
	unknownAway, unlistedAway := foreign.start(t, "billing"), foreign.start(t, "other")
	for policy, want := range map[workload.UnknownCallers][2]fate{
		workload.UnknownPass:             {passedUnknown, passedUnknown},
		workload.UnknownRefusedElsewhere: {passedUnknown, refusedUnknown},
		workload.UnknownRefused:          {refusedUnknown, refusedUnknown},
	} {
		h.closeFor(t, policy, exactIdentity)
		h.requireFate(t, string(policy)+": told", certain, at(target4), refused)
		h.requireFate(t, string(policy)+": told, elsewhere", certainAway, at(target4), refused)
		h.requireFate(t, string(policy)+": not told", unknown, at(target4), want[0])
		h.requireFate(t, string(policy)+": not told, elsewhere", unknownAway, at(target4), want[1])
		h.requireFate(t, string(policy)+": not listed", unlisted, at(target4), passed)
		h.requireFate(t, string(policy)+": not listed, elsewhere", unlistedAway, at(target4), passed)
		h.requireFate(t, string(policy)+": another destination", certain, at(target6), passed)
	}
}

// An address in several prefixes is closed as all of them say together.
func TestNestedClosedPrefixes(t *testing.T) {
	h := newSilentHost(t)
	one, two := copyOf(t, "one"), copyOf(t, "two")
	h.watchFor(t,
		selected(t, "one", workload.SelectorSpec{Executables: []string{one}, AnyUser: true}),
		selected(t, "two", workload.SelectorSpec{Executables: []string{two}, AnyUser: true}),
		selected(t, "some", workload.SelectorSpec{Executables: []string{"/**/some"}, AnyUser: true}))
	first, second, some := h.startIn(t, one, h.place()), h.startIn(t, two, h.place()), h.start(t, "some")
	closed := func(prefix string, unknown workload.UnknownCallers, port uint16, identities ...string) ClosedDestination {
		return ClosedDestination{Prefix: netip.MustParsePrefix(prefix), Port: port, Identities: identities, Unknown: unknown}
	}
	for _, test := range []struct {
		name                string
		closed              []ClosedDestination
		first, second, some fate
	}{
		{"the narrow one alone", []ClosedDestination{closed(target4+"/32", workload.UnknownPass, watched, "one")}, refused, passed, passed},
		{"the wide one alone", []ClosedDestination{closed("10.98.0.0/16", workload.UnknownPass, watched, "two")}, passed, refused, passed},
		{"both", []ClosedDestination{closed(target4+"/32", workload.UnknownPass, watched, "one"), closed("10.98.0.0/16", workload.UnknownPass, watched, "two")}, refused, refused, passed},
		{"three, and the widest refuses the unknown", []ClosedDestination{
			closed("10.0.0.0/8", workload.UnknownRefused, watched, "some"), closed("10.98.0.0/16", workload.UnknownPass, watched, "two"),
			closed(target4+"/32", workload.UnknownPass, watched, "one"),
		}, refused, refused, refusedUnknown},
		{"the same twice", []ClosedDestination{closed(target4+"/32", workload.UnknownPass, watched, "one"), closed(target4+"/32", workload.UnknownPass, watched, "two")}, refused, refused, passed},
		{"another port", []ClosedDestination{closed("10.0.0.0/8", workload.UnknownRefused, unwatched, "two"), closed(target4+"/32", workload.UnknownPass, watched, "one")}, refused, passed, passed},
		{"beside it", []ClosedDestination{closed("10.98.0.2/32", workload.UnknownRefused, watched, "two"), closed(target4+"/32", workload.UnknownPass, watched, "one")}, refused, passed, passed},
		{"none", nil, passed, passed, passed},
	} {
		must(t, h.probe.SetClosed(test.closed))
		h.requireFate(t, test.name+": one", first, at(target4), test.first)
		h.requireFate(t, test.name+": two", second, at(target4), test.second)
		h.requireFate(t, test.name+": some", some, at(target4), test.some)
	}
}
