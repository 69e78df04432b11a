//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/resolver"
	"github.com/lanyardhq/lanyard/internal/sockdiag"
	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// endEvery is the pause between two connections that are ended, so that their
	// programs do not all connect again at once.
	endEvery = 10 * time.Millisecond
	// lookAgain is when names that were not resolved yet are looked at again.
	lookAgain = 10 * time.Second
)

// before finds connections of identities to destinations that were made when no hook
// redirected them: while no agent ran, or before a reload registered the destination.
// They would go on without a token for as long as they live. It looks in the network
// namespace of its socket diagnostics, once at start and once for each reload.
type before struct {
	log      *slog.Logger
	diag     *sockdiag.Diag
	reader   *attribution.Reader
	resolver *resolver.Resolver
	registry *registry.Registry
	self     uint32 // this process, whose own connections are not meant
	proc     string
	count    func(identity, destination, result string)
	again    chan struct{} // holds a value when a look is wanted
}

// What became of a connection from before, as the metric has it.
const (
	beforeEnded = "ended"
	// The others go on without a token.
	beforeOpen       = "open"            // it, or another one there, does not fail closed for the identity
	beforeConfigured = "configured"      // connections_before: count
	beforeShared     = "shared_address"  // another host could be meant
	beforeTLS        = "tls"             // it may be encrypted
	beforeHolders    = "other_processes" // not every process that has it is the identity's
	beforeKernel     = "not_ended"       // the kernel did not
)

// newBefore returns one that looks where the agent's socket diagnostics look, or nil and
// why it cannot.
func (a *Agent) newBefore() (*before, error) {
	if a.farEnds.err != nil {
		return nil, a.farEnds.err
	}
	root, err := probe.CgroupRoot()
	if err != nil {
		return nil, err
	}
	c := readerConfig(root)
	reader, err := attribution.NewReader(c)
	if err != nil {
		return nil, err
	}
	return &before{
		log: a.log, diag: a.farEnds.diag, reader: reader, resolver: a.resolver, registry: a.registry,
		self: uint32(os.Getpid()), proc: c.Proc, count: a.recorder.ConnectionBefore, again: make(chan struct{}, 1),
	}, nil
}

// close closes what newBefore opened. A nil one is closed.
func (b *before) close() error {
	if b == nil {
		return nil
	}
	return b.reader.Close()
}

// want asks for a look. It never waits; a nil one does not look.
func (b *before) want() {
	if b == nil {
		return
	}
	select {
	case b.again <- struct{}{}:
	default:
	}
}

// run looks whenever that is wanted, until ctx ends.
func (b *before) run(ctx context.Context) {
	retry := time.NewTimer(lookAgain)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.again:
		case <-retry.C:
		}
		unsure, err := b.look(ctx, b.registry.Current())
		if err != nil && ctx.Err() == nil {
			b.log.Warn("connections from before were not looked at; those of identities go on without a token until they end", "error", err)
		}
		if unsure {
			retry.Reset(lookAgain)
		}
	}
}

// look finds and ends. It is unsure where a name did not resolve.
func (b *before) look(ctx context.Context, policy *registry.Policy) (unsure bool, err error) {
	found, unsure, err := b.connections(ctx, policy)
	defer func() { b.log.Debug("connections from before were looked for", "at_destinations", len(found)) }()
	if err != nil || len(found) == 0 {
		return unsure, err
	}
	if err := b.findHolders(ctx, policy, found); err != nil {
		return unsure, err
	}
	results := map[beforeSeries]int{}
	for _, c := range found {
		if identity, destination := c.listed(); destination != nil {
			results[beforeSeries{identity, destination.Name, b.end(ctx, c, identity)}]++
		}
	}
	for s, n := range results {
		for range n {
			b.count(s.identity, s.destination, s.result)
		}
		if s.result == beforeEnded {
			b.log.Info("connections from before were ended, so that their program connects again and gets a token",
				"identity", s.identity, "destination", s.destination, "connections", n)
			continue
		}
		b.log.Warn("connections from before go on without a token until they end; restart their program",
			"identity", s.identity, "destination", s.destination, "connections", n, "reason", s.result)
	}
	return unsure, nil
}

type beforeSeries struct{ identity, destination, result string }

// connectionBefore is one connection to an address of destinations.
type connectionBefore struct {
	socket       sockdiag.Socket
	destinations []*workload.Destination // whose address it is
	alone        bool                    // it is no other host's by configuration
	identities   []string                // of the processes that have it; "" is none
}

// connections lists those to a verified address of a destination.
func (b *before) connections(ctx context.Context, policy *registry.Policy) (found []*connectionBefore, unsure bool, err error) {
	places := map[netip.AddrPort]*place{}
	for port, destinations := range byPort(policy) {
		sockets, err := b.diag.Connected(port)
		if err != nil {
			return nil, unsure, err
		}
		for _, s := range sockets {
			at := places[s.Remote]
			if at == nil {
				at = b.placeOf(ctx, destinations, s.Remote)
				places[s.Remote] = at
			}
			unsure = unsure || at.unsure
			if len(at.destinations) > 0 && s.Inode != 0 {
				found = append(found, &connectionBefore{socket: s, destinations: at.destinations, alone: at.alone})
			}
		}
	}
	return found, unsure, ctx.Err()
}

func byPort(policy *registry.Policy) map[uint16][]*workload.Destination {
	all := map[uint16][]*workload.Destination{}
	for _, d := range policy.Destinations() {
		for _, port := range d.Ports {
			all[port] = append(all[port], d)
		}
	}
	return all
}

// place is what the configuration and the name server say of an address.
type place struct {
	destinations []*workload.Destination
	alone        bool
	unsure       bool
}

// placeOf finds the destinations at an address. A range of addresses, or a wildcard,
// leaves room for hosts that are not registered.
func (b *before) placeOf(ctx context.Context, destinations []*workload.Destination, at netip.AddrPort) *place {
	p := &place{alone: true}
	for _, d := range destinations {
		named, ranged, err := b.has(ctx, d, at)
		if named || ranged {
			p.destinations = append(p.destinations, d)
		}
		p.alone = p.alone && (named || !ranged)
		p.unsure = p.unsure || err != nil
	}
	return p
}

// has reports whether an address is a destination's by a host's own name or as a single
// configured address, and whether it is by a range or a wildcard.
func (b *before) has(ctx context.Context, d *workload.Destination, at netip.AddrPort) (named, ranged bool, err error) {
	for _, prefix := range d.Addresses {
		if prefix.Contains(at.Addr()) {
			named, ranged = named || prefix.IsSingleIP(), true
		}
	}
	byName := *d
	byName.Addresses = nil
	for _, host := range d.Hosts {
		if named || isWildcard(host) {
			continue
		}
		verifyErr := b.resolver.Verify(ctx, &byName, host, at)
		var not *resolver.NotVerifiedError
		if errors.As(verifyErr, &not) && not.Reason == resolver.ReasonUnresolved {
			err = verifyErr
		}
		named = named || verifyErr == nil
	}
	return named, ranged, err
}

func isWildcard(host string) bool { return len(host) > 1 && host[:2] == "*." }

// findHolders finds out whose processes have the connections.
func (b *before) findHolders(ctx context.Context, policy *registry.Policy, found []*connectionBefore) error {
	inodes := map[uint32]bool{}
	for _, c := range found {
		inodes[c.socket.Inode] = true
	}
	holders, err := sockdiag.Holders(b.proc, inodes)
	if err != nil {
		return err
	}
	identities := map[uint32]string{}
	for _, pids := range holders {
		for _, pid := range pids {
			if _, known := identities[pid]; !known {
				identities[pid] = b.identityOf(ctx, policy, pid)
			}
		}
	}
	for _, c := range found {
		for _, pid := range holders[c.socket.Inode] {
			c.identities = append(c.identities, identities[pid])
		}
	}
	return ctx.Err()
}

// identityOf returns the identity of a process, "" for none: the agent itself, one that
// ended, or one with several.
func (b *before) identityOf(ctx context.Context, policy *registry.Policy, pid uint32) string {
	if pid == b.self {
		return ""
	}
	process := b.reader.Process(ctx, pid, interestOf(policy))
	if process == nil {
		return ""
	}
	identity, err := policy.Identify(process)
	if err != nil || identity == nil {
		return ""
	}
	return identity.Name
}

// listed returns an identity that has the connection and a destination at its address
// that owes it a token, the strictest of several.
func (c *connectionBefore) listed() (identity string, destination *workload.Destination) {
	for _, d := range c.destinations {
		for _, name := range c.identities {
			if name != "" && d.Enforce && d.Lists(name) && (destination == nil || endsBefore(d)) {
				identity, destination = name, d
			}
		}
	}
	return identity, destination
}

func endsBefore(d *workload.Destination) bool {
	return d.OnFailure == workload.FailClosed && d.Before == workload.EndBefore
}

// end ends a connection of an identity, unless somebody else could be harmed, and
// returns what became of it.
func (b *before) end(ctx context.Context, c *connectionBefore, identity string) string {
	if why := c.whyNot(identity); why != "" {
		return why
	}
	select {
	case <-time.After(endEvery):
	case <-ctx.Done():
		return beforeKernel
	}
	if err := b.diag.Destroy(c.socket); err != nil && !errors.Is(err, sockdiag.ErrNoSocket) {
		b.log.Debug("a connection from before was not ended", "error", fmt.Errorf("end connection: %w", err))
		return beforeKernel
	}
	return beforeEnded
}

// whyNot says why a connection is left alone, or "".
func (c *connectionBefore) whyNot(identity string) string {
	for _, d := range c.destinations {
		switch {
		case !d.Enforce, !d.Lists(identity), d.OnFailure != workload.FailClosed:
			return beforeOpen
		case d.Before != workload.EndBefore:
			return beforeConfigured
		}
	}
	for _, name := range c.identities {
		if name != identity {
			return beforeHolders
		}
	}
	switch {
	case !c.alone:
		return beforeShared
	case c.socket.Remote.Port() == portHTTPS:
		return beforeTLS
	}
	return ""
}

// portHTTPS carries TLS, in which no token could be put yet.
const portHTTPS = 443
