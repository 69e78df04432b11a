package agent

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestClosedDestinations(t *testing.T) {
	known := map[string][]netip.Addr{
		"a.example": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	}
	closed := func(d workload.Destination) []probe.ClosedDestination {
		if d.OnFailure == "" {
			d.OnFailure, d.Enforce = workload.FailClosed, true
		}
		return closedDestinations([]*workload.Destination{&d}, known)
	}
	for _, c := range []struct {
		name string
		d    workload.Destination
		want []string
	}{
		{"resolved name, every port", workload.Destination{Hosts: []string{"a.example"}, Ports: []uint16{80, 81}},
			[]string{"192.0.2.1/32:80", "192.0.2.1/32:81", "2001:db8::1/128:80", "2001:db8::1/128:81"}},
		{"unknown name", workload.Destination{Hosts: []string{"b.example"}, Ports: []uint16{80}}, nil},
		{"literal", workload.Destination{Hosts: []string{"198.51.100.7"}, Ports: []uint16{80}}, []string{"198.51.100.7/32:80"}},
		{"configured", workload.Destination{Hosts: []string{"*.example"}, Ports: []uint16{80}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
			[]string{"10.0.0.0/8:80"}},
		{"open", workload.Destination{Hosts: []string{"a.example"}, Ports: []uint16{80}, Enforce: true, OnFailure: workload.FailOpen}, nil},
		{"observed only", workload.Destination{Hosts: []string{"a.example"}, Ports: []uint16{80}, OnFailure: workload.FailClosed}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, one := range closed(c.d) {
				got = append(got, one.Prefix.String()+":"+netip.AddrPortFrom(netip.IPv4Unspecified(), one.Port).String()[len("0.0.0.0:"):])
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Every destination's prefixes are made anew: a shared array would let one
// destination's addresses run into another's.
func TestClosedDestinationsLeaveThePolicyAlone(t *testing.T) {
	addresses := append(make([]netip.Prefix, 0, 8), netip.MustParsePrefix("10.0.0.0/8"))
	d := &workload.Destination{Hosts: []string{"192.0.2.9", "192.0.2.8"}, Ports: []uint16{80}, Addresses: addresses, Enforce: true, OnFailure: workload.FailClosed}
	closedDestinations([]*workload.Destination{d}, nil)
	if spare := addresses[:2][1]; spare.IsValid() {
		t.Errorf("wrote %v behind the policy's addresses", spare)
	}
}

func TestNamesToKeep(t *testing.T) {
	names := namesToKeep([]*workload.Destination{{Hosts: []string{"a.example", "*.b.example", "192.0.2.1", "2001:db8::1"}}, {Hosts: []string{"c.example"}}})
	if want := []string{"a.example", "c.example"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestBoundSource(t *testing.T) {
	for client, bound := range map[string]bool{"127.0.0.1": false, "::1": false, "127.0.0.9": true, "192.0.2.4": true, "fd00::2": true} {
		addr := netip.MustParseAddr(client)
		if got := boundSource(addr); got.IsValid() != bound || bound && got != addr {
			t.Errorf("%s: got %v", client, got)
		}
	}
}

func TestLeadsSomewhere(t *testing.T) {
	network := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		route netlink.Route
		want  bool
	}{
		{netlink.Route{Type: unix.RTN_UNICAST}, true},
		{netlink.Route{Type: unix.RTN_UNICAST, Dst: network("0.0.0.0/0")}, true},
		{netlink.Route{Type: unix.RTN_UNICAST, Dst: network("192.0.2.0/24")}, true},
		{netlink.Route{Type: unix.RTN_LOCAL, Dst: network("192.0.2.4/32")}, true},
		{netlink.Route{Type: unix.RTN_LOCAL, Dst: network("127.0.0.0/8")}, false},
		{netlink.Route{Type: unix.RTN_LOCAL, Dst: network("::1/128")}, false},
		{netlink.Route{Type: unix.RTN_UNICAST, Dst: network("fe80::/64")}, false},
		{netlink.Route{Type: unix.RTN_MULTICAST, Dst: network("ff00::/8")}, false},
		{netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: network("0.0.0.0/0")}, false},
		{netlink.Route{Type: unix.RTN_BLACKHOLE}, false},
	} {
		if got := leadsSomewhere(&c.route); got != c.want {
			t.Errorf("%v: got %v", c.route, got)
		}
	}
}

// Where routes change often, the kernel says that a list of them was interrupted.
func TestInterruptedListOfRoutes(t *testing.T) {
	leads := []netlink.Route{{Type: unix.RTN_UNICAST}}
	for _, c := range []struct {
		name  string
		lists [][]netlink.Route // all but the last are interrupted
		want  bool
	}{
		{"whole and empty", [][]netlink.Route{nil}, false},
		{"whole", [][]netlink.Route{leads}, true},
		{"interrupted, but enough", [][]netlink.Route{leads, nil}, true},
		{"interrupted, then whole", [][]netlink.Route{nil, nil, leads}, true},
		{"interrupted, then empty", [][]netlink.Route{nil, nil}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			got, err := anyLeads(func() ([]netlink.Route, error) {
				calls++
				if calls < len(c.lists) {
					return c.lists[calls-1], netlink.ErrDumpInterrupted
				}
				return c.lists[calls-1], nil
			})
			if err != nil || got != c.want {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
	if _, err := anyLeads(func() ([]netlink.Route, error) { return nil, netlink.ErrDumpInterrupted }); err == nil {
		t.Error("no error for lists that never end")
	}
	if _, err := anyLeads(func() ([]netlink.Route, error) { return leads, unix.EPERM }); err == nil {
		t.Error("no error for a failed list")
	}
}

func TestUnchangedSourcesAreKept(t *testing.T) {
	dir := t.TempDir()
	settings := func(identity, ticket string) sourceSettings {
		return sourceSettings{base: "http://127.0.0.1:1/operator", ticketFile: ticket, stateDir: identityDir(dir, identity)}
	}
	first, err := nextSources(nil, map[string]sourceSettings{"kept": settings("kept", "a"), "changed": settings("changed", "a"), "gone": settings("gone", "a")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := nextSources(first, map[string]sourceSettings{"kept": settings("kept", "a"), "changed": settings("changed", "b"), "new": settings("new", "a")})
	if err != nil {
		t.Fatal(err)
	}
	if first["kept"].client != second["kept"].client {
		t.Error("an unchanged source was replaced")
	}
	if first["changed"].client == second["changed"].client {
		t.Error("a changed source was kept")
	}
	if err := first.closeDropped(second); err != nil {
		t.Fatal(err)
	}
	if err := second.closeDropped(nil); err != nil {
		t.Fatal(err)
	}
}

func TestSourceRefusesPlainHTTPElsewhere(t *testing.T) {
	_, err := nextSources(nil, map[string]sourceSettings{"one": {base: "http://192.0.2.1/operator", stateDir: t.TempDir()}})
	if err == nil {
		t.Error("accepted plain http to another host")
	}
}
