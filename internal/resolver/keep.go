package resolver

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Keep replaces the names that are looked up every half minute, so that their
// addresses are known before somebody asks. Address literals are known at once;
// wildcards, which cannot be looked up, are left out.
func (r *Resolver) Keep(hosts []string) {
	names := map[string]bool{}
	var fixed []netip.Addr
	for _, host := range hosts {
		host = normalise(host)
		if addr, err := netip.ParseAddr(host); err == nil {
			fixed = append(fixed, addr)
		} else if isHost(host) {
			names[host] = true
		}
	}
	kept := slices.Sorted(maps.Keys(names))
	if len(kept) > maxKept {
		r.logger.Warn("too many names of destinations to keep resolved; the rest is looked up when needed",
			"names", len(kept), "kept", maxKept)
		kept = kept[:maxKept]
	}

	r.mu.Lock()
	for _, host := range r.kept {
		if _, still := slices.BinarySearch(kept, host); !still {
			(*r.names.Load())[host].kept.Store(false)
		}
	}
	for _, host := range kept {
		r.addName(host).kept.Store(true)
	}
	r.kept, r.fixed = kept, fixed
	r.mu.Unlock()
	signal(r.round)
}

// Known returns the addresses that the kept names had in the last ten minutes,
// sorted, without names that had none and without addresses that a DNS answer
// cannot vouch for. Do not change it.
func (r *Resolver) Known() map[string][]netip.Addr {
	return *r.known.Load()
}

// keep is the one goroutine that starts rounds of look-ups and tells of changes.
func (r *Resolver) keep() {
	timer := time.NewTimer(r.untilNextRound())
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.learned:
		case <-r.round:
			r.lookUpKept()
		case <-timer.C:
			r.lookUpKept()
			timer.Reset(r.untilNextRound())
		}
		r.publish()
	}
}

func (r *Resolver) untilNextRound() time.Duration {
	return time.Duration(float64(keepEvery) * (1 + keepJitter*(2*r.random()-1)))
}

// lookUpKept starts a look-up of every kept name.
func (r *Resolver) lookUpKept() {
	for _, n := range r.keptNames() {
		n.use(r.minute(r.now()))
		_, _ = r.request(n, asker{kind: askerKeeper}, goesOn) // how it ends is told there; the next round tries again
	}
}

func (r *Resolver) keptNames() []*name {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := *r.names.Load()
	kept := make([]*name, 0, len(r.kept))
	for _, host := range r.kept {
		kept = append(kept, names[host])
	}
	return kept
}

// publish makes Known what is known now, and tells if that is a change.
func (r *Resolver) publish() {
	now := r.now()
	known := map[string][]netip.Addr{}
	for _, n := range r.keptNames() {
		addrs := slices.DeleteFunc(n.addresses(now), func(a netip.Addr) bool { return !answerable(a) })
		if len(addrs) > 0 {
			known[n.host] = addrs
		}
	}
	r.mu.Lock()
	for _, addr := range r.fixed {
		known[addr.String()] = []netip.Addr{plain(addr)}
	}
	r.mu.Unlock()
	if maps.EqualFunc(known, *r.known.Load(), slices.Equal[[]netip.Addr]) {
		return
	}
	r.known.Store(&known)
	r.onChange()
}
