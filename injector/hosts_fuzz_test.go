package injector

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/resolver"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// FuzzHostReaders: a host is read by the parser of heads, by the policy, which finds
// its destination, and by the resolver, which verifies that an address is that
// destination's. Whatever the policy gives to a destination, the resolver takes for
// that one's too, and for no other's.
func FuzzHostReaders(f *testing.F) {
	policy, destinations := hostsPolicy(f)
	addresses := resolver.New(resolver.Config{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return nil, errors.New("nobody answers")
	}})
	f.Cleanup(addresses.Close)
	for _, host := range []string{
		"ledger.internal", "LEDGER.internal.", "ledger.internal..", "10.0.0.1", "10.0.0.1.", "010.0.0.1", "0x0a000001", "167772161", "10.1",
		"[::ffff:10.0.0.1]", "[::ffff:a00:1]", "[2001:db8::1]", "[2001:DB8:0:0::1]:80", "[2001:db8::1%25lo]", "[::10.0.0.1]",
		"a.example.org", "A.B.Example.Org.", ".example.org", "a..example.org", "example.org", "*.example.org", "xexample.org", "a.example.org.evil",
		"ledger.internal%2e", "ledger%2einternal", "ledger.internal:80", "ledger.internal,a.example.org", "\u017fledger.internal", "a_b.example.org",
	} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		at, err := parseAuthority([]byte(host))
		if err != nil || at.host == "" {
			return
		}
		owner := policy.Destination(at.host, defaultPort)
		for _, d := range destinations {
			err := addresses.Verify(t.Context(), d, at.host, netip.AddrPortFrom(d.Addresses[0].Addr(), defaultPort))
			if (err == nil) != (d == owner) {
				t.Errorf("host %q, read as %q, is destination %v for the policy; of %s the resolver says %v", host, at.host, name(owner), d.Name, err)
			}
		}
	})
}

func name(d *workload.Destination) string {
	if d == nil {
		return "none"
	}
	return d.Name
}

// hostsPolicy has a destination for each kind of host, each with an address of its own.
func hostsPolicy(f *testing.F) (*registry.Policy, []*workload.Destination) {
	f.Helper()
	resources := registry.Resources{Identities: []registry.IdentitySpec{{Name: "anybody", Match: workload.SelectorSpec{SystemdUnits: []string{"any.service"}}}}}
	for host, address := range map[string]string{
		"ledger.internal": "192.0.2.1", "*.example.org": "192.0.2.2", "10.0.0.1": "192.0.2.3", "2001:db8::1": "192.0.2.4",
	} {
		resources.Destinations = append(resources.Destinations, registry.DestinationSpec{
			Name: "to-" + strings.NewReplacer(".", "-", ":", "-", "*", "any").Replace(host), Hosts: []string{host}, Ports: []int{defaultPort},
			Addresses: []string{address}, Identities: []string{"anybody"},
		})
	}
	policy, _, err := registry.Compile(resources, nil)
	if err != nil {
		f.Fatal(err)
	}
	return policy, policy.Destinations()
}
