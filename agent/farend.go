//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/sockdiag"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// farEnds tells who serves the far end of upstream connections in the network
// namespace that the agent runs in.
type farEnds struct {
	netns   uint64 // cookie
	diag    *sockdiag.Diag
	cgroups *attribution.Cgroups
	owners  *sockdiag.Owners
	err     error // why it cannot tell, or nil
}

// openFarEnds never fails: a host without socket diagnostics runs the agent, and
// gets no token where a destination says who serves it.
func openFarEnds(netns uint64, cgroup2 string) *farEnds {
	f := &farEnds{netns: netns}
	if f.cgroups, f.err = attribution.OpenCgroups(cgroup2); f.err != nil {
		return f
	}
	if f.diag, f.err = sockdiag.Open(); f.err == nil {
		f.owners = sockdiag.NewOwners(f.diag, f.cgroups)
	}
	return f
}

// ServedBy implements injector.Servers.
func (f *farEnds) ServedBy(ctx context.Context, flow workload.Flow, by workload.Selector, local, remote netip.AddrPort) error {
	switch {
	case f.err != nil:
		return fmt.Errorf("find out who serves %v: %w", remote, f.err)
	case flow.NetNS != f.netns:
		return fmt.Errorf("find out who serves %v: it is in another network namespace than the agent", remote)
	}
	return f.owners.Check(ctx, by, local, remote)
}

// cgroupPath returns the path of a cgroup below the cgroup2 root.
func (f *farEnds) cgroupPath(id uint64) (string, error) {
	if f.cgroups == nil {
		return "", f.err
	}
	return f.cgroups.Path(id)
}

func (f *farEnds) close() error {
	var errs []error
	if f.diag != nil {
		errs = append(errs, f.diag.Close())
	}
	if f.cgroups != nil {
		errs = append(errs, f.cgroups.Close())
	}
	return errors.Join(errs...)
}

// netns returns the cookie of the namespace.
func (n *namespace) netns() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.announced[0].NetNS // IPv4 is never left out
}
