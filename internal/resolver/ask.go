package resolver

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// How often a look-up asks for a kept name. A server can have more addresses than it
// puts into an answer, and choose others for each (200, of which each answer has 8, say):
// a program then connects to one that a single answer has not told us of.
const (
	secondOpinions = 2   // after an answer with an address that was not known
	atOnce         = 8   // after one of those had yet another
	maxQuestions   = 128 // of one look-up
	maxHunt        = 64  // of them while nothing new comes, but somebody waits for an address
)

// ownLookup returns a look-up by Go's own resolver in this process's namespaces. One
// net.Resolver makes one question of several for the same name that are asked at once, so
// there are as many as ask at once.
func ownLookup() func(ctx context.Context, host string) ([]netip.Addr, error) {
	resolvers := make([]net.Resolver, atOnce)
	for i := range resolvers {
		resolvers[i].PreferGo = true
	}
	var next atomic.Uint64
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return resolvers[next.Add(1)%atOnce].LookupNetIP(ctx, "ip", host)
	}
}

// ask asks and learns: for a kept name until answers bring nothing new and nobody waits
// for what may still come. It fails if the first question does.
func (r *Resolver) ask(n *name, f *flight) error {
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.lookupHost(ctx, n.host)
	if err != nil {
		return err
	}
	if len(addrs) == 0 {
		return errNoAnswer
	}
	fresh := n.learn(addrs, r.now())
	if !n.kept.Load() {
		return nil
	}
	asked, inVain := 1, 0
	if fresh > 0 {
		fresh = r.askMore(ctx, n, secondOpinions)
		asked += secondOpinions
	}
	for asked < maxQuestions && (fresh > 0 || inVain < maxHunt && n.varies() && n.isAwaited(f)) {
		fresh = r.askMore(ctx, n, atOnce)
		asked += atOnce
		if fresh == 0 {
			inVain += atOnce
		}
	}
	n.endHunt(inVain >= maxHunt)
	return nil
}

// askMore asks several times at once and returns how many addresses were not known. A
// question that fails brings none.
func (r *Resolver) askMore(ctx context.Context, n *name, times int) (fresh int) {
	answers := make(chan []netip.Addr)
	for range times {
		go func() {
			addrs, err := r.lookupHost(ctx, n.host)
			if err != nil {
				addrs = nil
			}
			answers <- addrs
		}()
	}
	for range times {
		if addrs := <-answers; len(addrs) > 0 {
			fresh += n.learn(addrs, r.now())
		}
	}
	return fresh
}
