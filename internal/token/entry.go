package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// errGone says that an entry was dropped while somebody waited for it.
var errGone = errors.New("entry is gone")

// held is a token with the wall clock's reading at which it expires. A token is
// valid while both the monotonic clock, which no clock adjustment moves, and the
// wall clock, which goes on while the host sleeps, say so.
type held struct {
	token   Token
	expires int64 // nanoseconds of Unix time
}

// entry is one key of the cache. Its keeper alone obtains tokens for it.
type entry struct {
	request Request
	source  Source
	cancel  context.CancelFunc // ends the keeper
	done    chan struct{}      // closed when the keeper has ended

	held     atomic.Pointer[held] // the latest token, expired or not; nil before the first
	lastUse  atomic.Int64         // minute of the cache's clock
	rejected atomic.Int64         // nanoseconds of the cache's clock, 0 for never
	kick     chan struct{}        // wakes the keeper early; one is enough

	mu      sync.Mutex
	flight  chan struct{} // closed when the attempt under way ends; nil between attempts
	failure error         // of the last attempt, nil if it succeeded
	retryAt time.Time     // nobody asks the source before, unless it succeeded
	gone    bool
}

func newEntry(r Request, source Source, cancel context.CancelFunc) *entry {
	return &entry{
		request: r,
		source:  source,
		cancel:  cancel,
		done:    make(chan struct{}),
		kick:    make(chan struct{}, 1),
		flight:  make(chan struct{}), // a new keeper starts with an attempt
	}
}

// token returns the held token if it is valid.
func (e *entry) token(now time.Time) (Token, bool) {
	h := e.held.Load()
	if h == nil || !now.Before(h.token.expires) || now.UnixNano() >= h.expires {
		return Token{}, false
	}
	return h.token, true
}

// use remembers that somebody wanted this key.
func (e *entry) use(minute int64) {
	if e.lastUse.Load() != minute {
		e.lastUse.Store(minute)
	}
}

// wake makes the keeper obtain a token now.
func (e *entry) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// await returns a valid token, after one attempt if there is none and one is due.
// It returns errGone if the caller should look the key up again.
func (e *entry) await(ctx context.Context, now func() time.Time) (Token, error) {
	e.mu.Lock()
	if t, ok := e.token(now()); ok {
		e.mu.Unlock()
		return t, nil
	}
	switch {
	case e.gone:
		e.mu.Unlock()
		return Token{}, errGone
	case e.flight == nil && e.failure != nil && now().Before(e.retryAt):
		failure := e.failure
		e.mu.Unlock()
		return Token{}, failure
	case e.flight == nil:
		e.flight = make(chan struct{})
		e.wake()
	}
	flight := e.flight
	e.mu.Unlock()

	select {
	case <-flight:
	case <-ctx.Done():
		return Token{}, fmt.Errorf("wait for token of %v: %w", e.request, ctx.Err())
	}

	if t, ok := e.token(now()); ok {
		return t, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure == nil || e.gone {
		return Token{}, errGone
	}
	return Token{}, e.failure
}

// begin opens the flight that callers wait for.
func (e *entry) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight == nil {
		e.flight = make(chan struct{})
	}
}

// land ends the flight. Whoever woke the keeper meanwhile has what they wanted.
func (e *entry) land(failure error, retryAt time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure, e.retryAt = failure, retryAt
	select {
	case <-e.kick:
	default:
	}
	close(e.flight)
	e.flight = nil
}

// leave marks the entry as gone and sends those who wait for it away.
func (e *entry) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	if e.flight != nil {
		close(e.flight)
		e.flight = nil
	}
	close(e.done)
}

// inFlight reports whether an attempt is under way.
func (e *entry) inFlight() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flight != nil
}
