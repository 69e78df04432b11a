package resolver

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestAlternatives(t *testing.T) {
	names := func(prefixes ...string) *workload.Destination {
		d := &workload.Destination{Name: "d", Hosts: []string{"ledger.internal", "other.internal", "*.wild.internal", "192.0.2.9", "dead.internal", "odd.internal"}}
		for _, p := range prefixes {
			d.Addresses = append(d.Addresses, netip.MustParsePrefix(p))
		}
		return d
	}
	for _, k := range []struct {
		name       string
		d          *workload.Destination
		host, addr string
		want       string // or
		refused    Reason
	}{
		{"the name's other answers, in order", names(), "ledger.internal", "10.0.0.7", "2001:db8::7 10.0.0.8", ""},
		{"of the other family too", names(), "ledger.internal", "2001:db8::7", "10.0.0.7 10.0.0.8", ""},
		{"mapped", names(), "ledger.internal", "::ffff:10.0.0.7", "2001:db8::7 10.0.0.8", ""},
		{"an address that was chosen by hand", names(), "ledger.internal", "203.0.113.1", "", ReasonUnknown},
		{"another name's address", names(), "ledger.internal", "10.1.0.1", "", ReasonUnknown},
		{"an unregistered host", names(), "elsewhere.internal", "10.0.0.7", "", ReasonForeign},
		{"configured address, answers elsewhere", names("198.51.100.0/24"), "ledger.internal", "198.51.100.1", "", ""},
		{"answers partly within the addresses", names("10.0.0.0/24", "198.51.100.0/24"), "ledger.internal", "198.51.100.1", "10.0.0.7 10.0.0.8", ""},
		{"wildcard within the addresses", names("10.2.0.0/24"), "a.wild.internal", "10.2.0.1", "10.2.0.2", ""},
		{"wildcard without addresses", names(), "a.wild.internal", "10.2.0.1", "", ReasonWildcard},
		{"literal", names(), "192.0.2.9", "192.0.2.9", "", ""},
		{"literal dialled elsewhere", names(), "192.0.2.9", "192.0.2.10", "", ReasonLiteral},
		{"answers that vouch for nothing", names(), "odd.internal", "10.3.0.1", "", ""},
		{"loopback that is configured", names("127.0.0.0/8"), "odd.internal", "127.0.0.9", "127.0.0.1", ""},
		{"loopback that is not", names(), "odd.internal", "127.0.0.1", "", ReasonSpecial},
	} {
		t.Run(k.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
				z.set("ledger.internal", "2001:db8::7", "10.0.0.7", "10.0.0.8", "10.0.0.8")
				z.set("other.internal", "10.1.0.1")
				z.set("elsewhere.internal", "10.0.0.7", "10.9.0.1")
				z.set("a.wild.internal", "10.2.0.1", "10.2.0.2", "10.9.0.1")
				z.set("odd.internal", "127.0.0.1", "169.254.169.254", "::1", "10.3.0.1", "0.0.0.0")
				got, err := r.Alternatives(t.Context(), "billing", k.d, k.host, netip.AddrPortFrom(netip.MustParseAddr(k.addr), 80))
				if !slices.Equal(got, parse(strings.Fields(k.want)...)) {
					t.Errorf("%v, want %s", got, k.want)
				}
				var unverified *NotVerifiedError
				if errors.As(err, &unverified); k.refused == "" && err != nil || k.refused != "" && (unverified == nil || unverified.Reason != k.refused) {
					t.Errorf("error %v, want reason %q", err, k.refused)
				}
			})
		})
	}
}
