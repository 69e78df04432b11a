package fairshare

import (
	"context"
	"sync"
)

// shares is a Pool, or a Nested.
type shares[Party any] interface {
	Take(party Party) bool
	Give(party Party)
	Free() int
}

// Limiter is a pool that is waited for: it bounds how much is done at once, for
// everybody and for one party. It is safe for concurrent use.
type Limiter[Party comparable] struct {
	mu      sync.Mutex
	pool    shares[Party]
	changed chan struct{} // closed when a place was given back, if somebody waits
}

// NewLimiter returns a limiter of so many places.
func NewLimiter[Party comparable](places int) *Limiter[Party] {
	return &Limiter[Party]{pool: NewPool[Party](places)}
}

// NewNestedLimiter returns a limiter of so many places, shared as in Nested.
func NewNestedLimiter[Place comparable, Party Placed[Place]](places int) *Limiter[Party] {
	return &Limiter[Party]{pool: NewNested[Place, Party](places)}
}

// Acquire takes a place for the party, and waits for it until ctx ends, whose error
// it then returns. Call release once, when the place is not needed any more. Those
// who wait are in no order: their number is to be bounded elsewhere.
func (l *Limiter[Party]) Acquire(ctx context.Context, party Party) (release func(), err error) {
	for {
		taken, changed := l.take(party)
		if taken {
			return func() { l.give(party) }, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *Limiter[Party]) take(party Party) (taken bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool.Take(party) {
		return true, nil
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return false, l.changed
}

func (l *Limiter[Party]) give(party Party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.Give(party)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}
