package workload

import (
	"net/netip"
	"testing"
)

func TestParties(t *testing.T) {
	machine := func(s string) Party { return MachineParty(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		name                 string
		a, b                 Party
		sameParty, samePlace bool
	}{
		{"one process twice", ProcessParty(1, 2, 3), ProcessParty(1, 2, 3), true, true},
		{"two users of a container", ProcessParty(1, 2, 3), ProcessParty(1, 3, 3), false, true},
		{"two namespaces of a user", ProcessParty(1, 0, 3), ProcessParty(1, 0, 4), false, true},
		{"one uid in two containers", ProcessParty(1, 2, 3), ProcessParty(2, 2, 3), false, false},
		{"a place that is not known, and nobody known", ProcessParty(0, 0, 0), Party{}, false, false},
		{"two users", UserParty(1000), UserParty(1001), false, false},
		{"subordinate ids", UserParty(131072), UserParty(131073), false, true},
		{"ids far from each other", UserParty(131072), UserParty(196608), false, false},
		{"root and nobody known", UserParty(0), Party{}, false, false},
		{"a cgroup and a user of one number", ProcessParty(1000, 1000, 0), UserParty(1000), false, false},
		{"two machines", machine("192.0.2.1"), machine("192.0.2.2"), false, false},
		{"one machine, mapped", machine("192.0.2.1"), machine("::ffff:192.0.2.1"), true, true},
		{"one IPv6 network", machine("2001:db8::1"), machine("2001:db8::ffff:2"), true, true},
		{"two IPv6 networks", machine("2001:db8::1"), machine("2001:db8:0:1::1"), false, false},
		{"link-local, two links", machine("fe80::1%a"), machine("fe80::1%b"), true, true},
	} {
		if got := c.a == c.b; got != c.sameParty {
			t.Errorf("%s: the same party: %v", c.name, got)
		}
		if got := c.a.Place() == c.b.Place(); got != c.samePlace {
			t.Errorf("%s: in the same place: %v", c.name, got)
		}
	}
}

func TestPartiesSayWhoTheyAre(t *testing.T) {
	for want, p := range map[string]Party{
		"unknown": {}, "user 1000": UserParty(1000), "user 5 in cgroup 7": ProcessParty(7, 5, 1), "cgroup 7": ProcessParty(7, 0, 1),
		"192.0.2.1": MachineParty(netip.MustParseAddr("192.0.2.1")), "2001:db8::/64": MachineParty(netip.MustParseAddr("2001:db8::1")), "users from 65536 on": UserParty(65537).Place().Whole(),
	} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
