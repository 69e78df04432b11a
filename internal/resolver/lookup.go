package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errNotAName = errors.New("not a host name")
	errNoAnswer = errors.New("no addresses")
	errClosed   = errors.New("resolver is closed")
	errNoTime   = fmt.Errorf("no answer within %v", longestWait)
)

// await has a name looked up and waits for the answer for a bounded time. Where
// that was done a moment ago it waits for the name's next turn: whoever asks may
// have a newer answer than ours, and would otherwise be refused for a second. The
// look-up itself goes on.
func (r *Resolver) await(ctx context.Context, n *name) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longestWait, errNoTime)
	defer cancel()
	flight := r.start(n)
	if flight == nil {
		if err := pause(ctx, n.untilTurn(r.now())); err != nil {
			return err
		}
		flight = r.start(n)
	}
	if flight == nil { // somebody else's look-up has just ended
		return n.lastFailure()
	}
	select {
	case <-flight:
		return n.lastFailure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// untilTurn is how long a name has to be left alone before its next look-up.
func (n *name) untilTurn(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return lookupPause - now.Sub(n.asked)
}

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start begins a look-up and returns what is closed when it ends: that of the one
// under way if there is one, nil if the last began less than lookupPause ago.
func (r *Resolver) start(n *name) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flight != nil {
		return n.flight
	}
	now := r.now()
	if !n.asked.IsZero() && now.Sub(n.asked) < lookupPause {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		n.failure = errClosed
		return nil
	}
	n.asked = now
	n.flight = make(chan struct{})
	r.running.Go(func() { r.lookup(n) })
	return n.flight
}

// lookup does one look-up.
func (r *Resolver) lookup(n *name) {
	err := r.ask(n)
	n.mu.Lock()
	before := n.failure
	n.failure = err
	close(n.flight)
	n.flight = nil
	n.mu.Unlock()

	if !n.kept.Load() || r.ctx.Err() != nil {
		return // whoever asked is told
	}
	switch {
	case err != nil && before == nil:
		r.logger.Warn("name of a destination not resolved; what it answered before counts for a while",
			"host", n.host, "error", err, "counts_for", Memory)
	case err == nil && before != nil:
		r.logger.Info("name of a destination resolved again", "host", n.host)
	}
	if err == nil {
		signal(r.learned)
	}
}

// ask asks and learns.
func (r *Resolver) ask(n *name) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
		return errClosed
	}
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.lookupHost(ctx, n.host)
	if err != nil {
		return err
	}
	if len(addrs) == 0 {
		return errNoAnswer
	}
	n.learn(addrs, r.now())
	return nil
}

// lastFailure returns why the latest look-up failed, or nil.
func (n *name) lastFailure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failure
}

// signal wakes whoever listens; one waiting signal is enough.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
