package registry

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Watch returns what the kernel needs to know of the policy: every port of a
// destination once, in ascending order, and one condition for each identity, by
// name. The caller must not change it.
func (p *Policy) Watch() workload.Watch { return p.watch }

func (p *Policy) compileWatch() workload.Watch {
	var w workload.Watch
	for _, port := range slices.Sorted(maps.Keys(p.byPort)) {
		w.Ports = append(w.Ports, workload.WatchedPort{Port: port, Prefixes: narrow(p.byPort[port])})
	}
	for _, identity := range p.identities {
		w.Conditions = append(w.Conditions, identity.Selector.Condition(identity.Name))
	}
	return w
}

// narrow returns the addresses that a port is watched on: nil, which is all,
// unless every destination with this port says where it is.
func narrow(destinations []*workload.Destination) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, d := range destinations {
		if len(d.Addresses) == 0 {
			return nil
		}
		prefixes = append(prefixes, d.Addresses...)
		for _, host := range d.Hosts {
			// A host that is an address is one of the destination's addresses,
			// whether or not it was written down there too.
			if addr, ok := isAddress(host); ok {
				prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	return merge(prefixes)
}

// merge sorts prefixes and drops those that another one holds.
func merge(prefixes []netip.Prefix) []netip.Prefix {
	// The widest first, so that whatever holds a prefix stands before it.
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var kept []netip.Prefix
	for _, prefix := range prefixes {
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Overlaps(prefix) }) {
			kept = append(kept, prefix)
		}
	}
	slices.SortFunc(kept, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return kept
}
