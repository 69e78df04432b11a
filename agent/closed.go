//go:build linux

package agent

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// closedDestinations lists where identities must not go while no agent answers:
// every known address of every destination that fails closed. A name that was
// not resolved yet, or a wildcard without addresses, has none.
func closedDestinations(destinations []*workload.Destination, known map[string][]netip.Addr) []probe.ClosedDestination {
	var closed []probe.ClosedDestination
	for _, d := range destinations {
		if !d.Enforce || d.OnFailure != workload.FailClosed {
			continue
		}
		for _, prefix := range addressesOf(d, known) {
			for _, port := range d.Ports {
				closed = append(closed, probe.ClosedDestination{
					Prefix: prefix, Port: port, Identities: d.Identities, Unknown: d.Unknown,
				})
			}
		}
	}
	return closed
}

func addressesOf(d *workload.Destination, known map[string][]netip.Addr) []netip.Prefix {
	prefixes := slices.Clone(d.Addresses)
	for _, host := range d.Hosts {
		if literal, err := netip.ParseAddr(host); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(literal, literal.BitLen()))
		}
		for _, addr := range known[host] {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return prefixes
}

// namesToKeep lists the registered names that the resolver keeps fresh.
func namesToKeep(destinations []*workload.Destination) []string {
	var names []string
	for _, d := range destinations {
		for _, host := range d.Hosts {
			if _, err := netip.ParseAddr(host); err == nil || strings.HasPrefix(host, "*.") {
				continue
			}
			names = append(names, host)
		}
	}
	return names
}
