package authority

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
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
	bySource        = "source"
	byWorkload      = "workload"
	byAdministrator = "administrator"
)

// limiter limits how often each of many may ask. It is safe for concurrent use.
type limiter[K comparable] struct {
	limit      rate.Limit
	burst      int
	allowances *recent[K, *rate.Limiter]
}

func newLimiter[K comparable](perSecond float64, burst int) *limiter[K] {
	return &limiter[K]{limit: rate.Limit(perSecond), burst: burst, allowances: newRecent[K, *rate.Limiter](maxAllowances)}
}

// take takes one request from the key's allowance and returns 0, or how long it
// must wait for one.
func (l *limiter[K]) take(key K, now time.Time) time.Duration {
	allowance := l.allowances.getOr(key, func() *rate.Limiter { return rate.NewLimiter(l.limit, l.burst) })
	reservation := allowance.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// allowSource refuses a request over the rate of where it comes from.
func (a *Authority) allowSource(r *http.Request) error {
	return a.tooMany(bySource, a.sources.take(sourceUnit(a.source(r).addr), a.now()))
}

// maxUsed bounds the messages that are remembered as used. The database remembers
// those that something was decided by; this spares a look there for each request.
const maxUsed = 10000

// allowWorkload refuses a request over the rate of the workload that signed it. A
// message that was used before, or is being answered, is refused first, and like a
// stranger's: who has recorded it must not use up the workload's rate, or keep the
// database busy. One that is not remembered, after a restart say, is refused when it
// is to be recorded. What was let through is to be settled.
func (a *Authority) allowWorkload(workloadID string, by signedOnce) (used bool, err error) {
	if fresh := a.used.put(by.key(), struct{}{}); !fresh {
		return true, nil
	}
	err = a.tooMany(byWorkload, a.callers.take(workloadID, a.now()))
	if err != nil {
		a.used.forget(by.key()) // it may be sent again later
	}
	return false, err
}

// settle ends what allowWorkload let through, err being its outcome. A message that was
// answered stays used, whatever the answer; one by which nothing could be decided may
// be sent again.
func (a *Authority) settle(by signedOnce, err error) {
	var answered *refusal
	if err != nil && !errors.As(err, &answered) {
		a.used.forget(by.key())
	}
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
