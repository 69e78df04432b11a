package check

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestServers(t *testing.T) {
	unit := func(names ...string) *registry.ServerSpec { return &registry.ServerSpec{SystemdUnits: names} }
	inUnit := func(name string) workload.Process {
		return workload.Process{UID: 990, Cgroup: "/system.slice/" + name, SystemdUnit: name}
	}
	for _, k := range []struct {
		name            string
		hosts           []string
		addresses       []string
		by              *registry.ServerSpec
		listening       []workload.Process
		listenErr       error
		observe         bool
		wrong, warnings string // what they hold, "" for none
	}{
		{name: "elsewhere", hosts: []string{"far.internal"}},
		{name: "loopback, by anybody", hosts: []string{"127.0.0.1"}, warnings: "at 127.0.0.1 of this host it is whatever process"},
		{name: "loopback, only watched", hosts: []string{"127.0.0.1"}, observe: true},
		{name: "IPv6 loopback", hosts: []string{"::1"}, warnings: "at ::1 of this host"},
		{name: "another loopback address", addresses: []string{"127.0.0.9"}, hosts: []string{"far.internal"}, warnings: "at 127.0.0.9"},
		{name: "own address", hosts: []string{"192.0.2.1"}, warnings: "at 192.0.2.1"},
		{name: "own address within a range", hosts: []string{"far.internal"}, addresses: []string{"192.0.2.0/24"}, warnings: "at 192.0.2.1"},
		{name: "name with an own address", hosts: []string{"near.internal"}, warnings: "at 192.0.2.1"},
		{name: "name that is not known", hosts: []string{"unknown.internal"}},
		{name: "wildcard", hosts: []string{"*.near.internal"}, addresses: []string{"198.51.100.0/24"}},
		{name: "as wanted", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listening: []workload.Process{inUnit("ledger.service")}},
		{name: "nobody listens", hosts: []string{"127.0.0.1"}, by: unit("ledger.service")},
		{name: "another", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listening: []workload.Process{inUnit("ledger.service"), inUnit("other.service")},
			warnings: "127.0.0.1:80 listens user 990 in other.service, whom served_by does not name"},
		{name: "no unit", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listening: []workload.Process{{UID: 1000, Cgroup: "/user.slice/a\n"}},
			warnings: `user 1000 in cgroup "/user.slice/a\n"`},
		{name: "socket-activated", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listening: []workload.Process{inUnit("ledger.socket")},
			wrong: "write served_by: {systemd_unit: ledger.socket}"},
		{name: "socket-activated, of old", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listening: []workload.Process{{Cgroup: "/init.scope", SystemdUnit: "init.scope"}},
			wrong: "write served_by: {systemd_unit: init.scope}"},
		{name: "socket-activated, and named so", hosts: []string{"127.0.0.1"}, by: unit("ledger.socket"), listening: []workload.Process{inUnit("ledger.socket")}},
		{name: "served here, and is elsewhere", hosts: []string{"far.internal"}, by: unit("ledger.service"), warnings: "none of its addresses is of this host"},
		{name: "not known who listens", hosts: []string{"127.0.0.1"}, by: unit("ledger.service"), listenErr: errors.New("only root sees that"), warnings: "only root sees that"},
	} {
		t.Run(k.name, func(t *testing.T) {
			policy, _, err := registry.Compile(registry.Resources{
				Identities: []registry.IdentitySpec{anyUser("billing", "/usr/bin/billing")},
				Destinations: []registry.DestinationSpec{{
					Name: "ledger", Hosts: k.hosts, Ports: []int{80}, Addresses: k.addresses, Identities: []string{"billing"}, ServedBy: k.by, Observe: k.observe,
				}},
			}, accounts{})
			if err != nil {
				t.Fatal(err)
			}
			own := netip.MustParseAddr("192.0.2.1")
			host := Host{
				Own: []netip.Addr{own},
				Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
					switch host {
					case "near.internal":
						return []netip.Addr{own}, nil
					case "far.internal":
						return []netip.Addr{netip.MustParseAddr("203.0.113.1")}, nil
					}
					return nil, errors.New("no such host")
				},
				Listening: func(netip.AddrPort) ([]workload.Process, error) { return k.listening, k.listenErr },
			}
			wrong, warnings := host.Servers(t.Context(), policy)
			for _, c := range []struct {
				kind, want string
				got        []string
			}{{"wrong", k.wrong, wrong}, {"warnings", k.warnings, warnings}} {
				if c.want == "" && len(c.got) > 0 || c.want != "" && (len(c.got) != 1 || !strings.Contains(c.got[0], c.want)) {
					t.Errorf("%s: %q, want %q", c.kind, c.got, c.want)
				}
			}
		})
	}
}
