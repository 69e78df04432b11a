package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/check"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/sockdiag"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// lookupTime bounds all look-ups of a check: name servers may be away.
const lookupTime = 3 * time.Second

// lookAtServers looks at who serves the destinations that are on this host, and
// returns what is wrong with that.
func (r *checkResult) lookAtServers(ctx context.Context, policy *registry.Policy, cgroup2 string) (wrong []string) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	host := check.Host{
		Own: ownAddresses(),
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
		},
		Listening: func(at netip.AddrPort) ([]workload.Process, error) { return whoListens(at, cgroup2) },
	}
	wrong, warnings := host.Servers(ctx, policy)
	for _, reason := range wrong {
		r.Errors = append(r.Errors, checkFinding{Reason: reason})
	}
	for _, reason := range warnings {
		r.warn(reason)
	}
	return wrong
}

// ownAddresses returns this host's addresses, none where they cannot be had.
func ownAddresses() []netip.Addr {
	networks, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, n := range networks {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

func whoListens(at netip.AddrPort, cgroup2 string) (_ []workload.Process, err error) {
	if cgroup2 == "" {
		return nil, fmt.Errorf("find out who listens at %v: no cgroup2 is mounted", at)
	}
	cgroups, err := attribution.OpenCgroups(cgroup2)
	if err != nil {
		return nil, err
	}
	defer func() { _ = cgroups.Close() }()
	diag, err := sockdiag.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = diag.Close() }()
	return sockdiag.NewOwners(diag, cgroups).Listening(at)
}
