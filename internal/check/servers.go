package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Host is what is known of this host's addresses and of who listens on them.
type Host struct {
	Own    []netip.Addr                                                 // its addresses beside loopback
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error) // by the agent's name servers
	// Listening returns the owners of the sockets that take connections to an
	// address.
	Listening func(at netip.AddrPort) ([]workload.Process, error)
}

// Servers says which destinations are on this host, where whatever process holds
// the port is the destination, unless the configuration says who has to. wrong are
// those that can never get a token as they are written and served now.
func (h Host) Servers(ctx context.Context, policy *registry.Policy) (wrong, warnings []string) {
	for _, d := range policy.Destinations() {
		if !d.Enforce {
			continue
		}
		local, elsewhere := h.addressesOf(ctx, d)
		switch {
		case d.ServedBy.IsZero() && len(local) > 0:
			warnings = append(warnings, fmt.Sprintf("destination %s: at %s of this host it is whatever process holds the port; "+
				"say who has to with served_by: {systemd_unit: NAME}, or cgroup, or user", d.Name, local[0]))
		case !d.ServedBy.IsZero() && len(local) == 0 && elsewhere:
			warnings = append(warnings, fmt.Sprintf("destination %s: served_by names who owns its listening socket, and none of its addresses is of this host, "+
				"so that it never gets a token; leave served_by out", d.Name))
		case !d.ServedBy.IsZero():
			w, more := h.servedBy(d, local)
			wrong, warnings = append(wrong, w...), append(warnings, more...)
		}
	}
	return wrong, warnings
}

// servedBy looks at who listens now.
func (h Host) servedBy(d *workload.Destination, local []netip.Addr) (wrong, warnings []string) {
	for _, addr := range local {
		for _, port := range d.Ports {
			at := netip.AddrPortFrom(addr, port)
			owners, err := h.Listening(at)
			if err != nil {
				return wrong, append(warnings, fmt.Sprintf("destination %s: who listens at %v is not known: %v", d.Name, at, err))
			}
			for _, owner := range owners {
				if d.ServedBy.Match(&owner) {
					continue
				}
				if socket := activation(d.ServedBy, owner); socket != "" {
					wrong = append(wrong, fmt.Sprintf("destination %s: %v is a socket that systemd listens on itself (%s), and its service is started for it, so that no %s ever owns it; write served_by: {systemd_unit: %s}",
						d.Name, at, owner.SystemdUnit, strings.Join(d.ServedBy.Values(workload.KindSystemdUnit), " or "), socket))
					continue
				}
				warnings = append(warnings, fmt.Sprintf("destination %s: at %v listens %s, whom served_by does not name, so that it gets no token",
					d.Name, at, described(owner)))
			}
		}
	}
	return wrong, warnings
}

// activation returns the unit to name if a service is wanted, and systemd has the
// socket itself: in the socket unit's cgroup, or where it cannot in its own.
func activation(want workload.Selector, owner workload.Process) string {
	if !want.Needs(workload.KindSystemdUnit) {
		return ""
	}
	if owner.SystemdUnit == "init.scope" || strings.HasSuffix(owner.SystemdUnit, ".socket") {
		return owner.SystemdUnit
	}
	return ""
}

func described(p workload.Process) string {
	if p.SystemdUnit != "" {
		return fmt.Sprintf("user %d in %s", p.UID, Printable(p.SystemdUnit))
	}
	return fmt.Sprintf("user %d in cgroup %s", p.UID, Printable(p.Cgroup))
}

// addressesOf returns the addresses of this host at which a destination may be,
// and whether it may be at others.
func (h Host) addressesOf(ctx context.Context, d *workload.Destination) (local []netip.Addr, elsewhere bool) {
	note := func(addr netip.Addr) {
		addr = addr.Unmap()
		switch {
		case !addr.IsLoopback() && !slices.Contains(h.Own, addr):
			elsewhere = true
		case !slices.Contains(local, addr):
			local = append(local, addr)
		}
	}
	for _, prefix := range d.Addresses {
		within := 0
		for _, addr := range append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, h.Own...) {
			if prefix.Contains(addr) {
				note(addr)
				within++
			}
		}
		if within == 0 {
			note(prefix.Addr())
		}
	}
	for _, host := range d.Hosts {
		if literal, err := netip.ParseAddr(host); err == nil {
			note(literal)
			continue
		}
		if strings.HasPrefix(host, "*.") {
			continue
		}
		addrs, err := h.Lookup(ctx, host)
		if err != nil {
			continue // the agent asks again and again, and says so
		}
		for _, addr := range addrs {
			note(addr)
		}
	}
	return local, elsewhere
}
