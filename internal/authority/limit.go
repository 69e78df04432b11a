package authority

import (
	"container/list"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxAllowances bounds what one limiter remembers; who was quiet for longest gives
// way.
const maxAllowances = 10000

// ipv6SourceBits is the part of an IPv6 address that stands for one source: who
// has one address mostly has its whole /64.
const ipv6SourceBits = 64

// What requests are limited by.
const (
	bySource   = "source"
	byWorkload = "workload"
)

// limiter limits how often each of many may ask. It is safe for concurrent use.
type limiter[K comparable] struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex // guards what follows
	recent *list.List // of *allowance, the most recent first
	known  map[K]*list.Element
}

// allowance is what one of them may still ask.
type allowance[K comparable] struct {
	key     K
	limiter *rate.Limiter
}

func newLimiter[K comparable](perSecond float64, burst int) *limiter[K] {
	return &limiter[K]{
		limit:  rate.Limit(perSecond),
		burst:  burst,
		recent: list.New(),
		known:  make(map[K]*list.Element),
	}
}

// take takes one request from the key's allowance and returns 0, or how long it
// must wait for one.
func (l *limiter[K]) take(key K, now time.Time) time.Duration {
	reservation := l.of(key).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter[K]) of(key K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if element, ok := l.known[key]; ok {
		l.recent.MoveToFront(element)
		return element.Value.(*allowance[K]).limiter
	}
	if len(l.known) == maxAllowances {
		oldest := l.recent.Back()
		delete(l.known, l.recent.Remove(oldest).(*allowance[K]).key)
	}
	fresh := &allowance[K]{key: key, limiter: rate.NewLimiter(l.limit, l.burst)}
	l.known[key] = l.recent.PushFront(fresh)
	return fresh.limiter
}

// allowSource refuses a request over the rate of where it comes from.
func (a *Authority) allowSource(r *http.Request) error {
	return a.tooMany(bySource, a.sources.take(sourceUnit(a.source(r).addr), a.now()))
}

// allowWorkload refuses a request over the rate of the workload that signed it. A
// message that was used before is refused first, and like a stranger's: who has
// recorded it must not use up the workload's rate, or keep the database busy.
func (a *Authority) allowWorkload(r *http.Request, workloadID string, by signedOnce) (spent bool, err error) {
	spent, err = a.store.Read(r.Context()).IsSpent(by.sender, by.id)
	if err != nil || spent {
		return spent, err
	}
	return false, a.tooMany(byWorkload, a.callers.take(workloadID, a.now()))
}

// tooMany is the refusal of who must wait, and no error for 0.
func (a *Authority) tooMany(by string, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	a.metrics.limited.WithLabelValues(by).Inc()
	return &refusal{
		status:  http.StatusTooManyRequests,
		message: "too many requests of this " + by,
		header:  map[string]string{"Retry-After": strconv.Itoa(int(wait/time.Second) + 1)},
	}
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
