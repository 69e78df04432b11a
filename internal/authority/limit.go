package authority

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds the source addresses that are remembered; the one that was
// quiet for longest gives way.
const maxSources = 10000

// ipv6SourceBits is the part of an IPv6 address that stands for one source: who
// has one address mostly has its whole /64.
const ipv6SourceBits = 64

// sourceLimiter limits how often one source may ask. It is safe for concurrent use.
type sourceLimiter struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex // guards what follows
	recent *list.List // of *allowance, the most recent first
	known  map[netip.Addr]*list.Element
}

// allowance is what one source may still ask.
type allowance struct {
	addr    netip.Addr
	limiter *rate.Limiter
}

func newSourceLimiter(perSecond float64, burst int) *sourceLimiter {
	return &sourceLimiter{
		limit:  rate.Limit(perSecond),
		burst:  burst,
		recent: list.New(),
		known:  make(map[netip.Addr]*list.Element),
	}
}

// take takes one request of the address from its allowance and returns 0, or how
// long it must wait for one.
func (l *sourceLimiter) take(addr netip.Addr, now time.Time) time.Duration {
	limiter := l.of(sourceUnit(addr))
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *sourceLimiter) of(addr netip.Addr) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if element, ok := l.known[addr]; ok {
		l.recent.MoveToFront(element)
		return element.Value.(*allowance).limiter
	}
	if len(l.known) == maxSources {
		oldest := l.recent.Back()
		delete(l.known, l.recent.Remove(oldest).(*allowance).addr)
	}
	fresh := &allowance{addr: addr, limiter: rate.NewLimiter(l.limit, l.burst)}
	l.known[addr] = l.recent.PushFront(fresh)
	return fresh.limiter
}

// sourceUnit is what stands for an address: itself, of IPv6 the first half. What is
// not known shares the zero address.
func sourceUnit(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	prefix, err := addr.Prefix(ipv6SourceBits)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}
