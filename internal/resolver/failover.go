package resolver

import (
	"context"
	"net/netip"
	"slices"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Alternatives returns where a connection to that host of the destination may go
// instead of addr, in the order of the host's latest answer. It returns an error
// if addr itself is not verified to be the host: a program that chose an address
// by hand gets that one or none. Every alternative is the host's as Verify has
// it; where the destination configures addresses, they bound it too, since only
// there would the program's own connection have been looked at. It waits no longer
// than two look-ups do, which count as the identity's: it has its share of those that
// may be under way. Where that is empty, nothing is looked up, and only what is known
// by now counts: the name may be one that its client made up.
func (r *Resolver) Alternatives(ctx context.Context, identityName string, d *workload.Destination, host string, addr netip.AddrPort) ([]netip.Addr, error) {
	by := identity(identityName)
	if err := r.verify(ctx, by, d, host, addr); err != nil {
		return nil, err
	}
	addrs, err := r.addresses(ctx, by, host)
	if err != nil {
		return nil, err
	}
	original := plain(addr.Addr())
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return plain(a) == original || !within(d.Addresses, a) ||
			r.verify(ctx, by, d, host, netip.AddrPortFrom(a, addr.Port())) != nil
	}), nil
}

// within reports whether one of the prefixes, if there are any, holds an address.
func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
