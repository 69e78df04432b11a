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
	errBusy     = errors.New("as many look-ups wait already as there may be")
	errNobody   = errors.New("not known, and not looked up for a caller without an identity there")
	errNoTime   = fmt.Errorf("no answer within %v", longestWait)
)

// await has a name looked up and waits for the answer for a bounded time. Where
// that was done a moment ago it waits for the name's next turn: the client may
// have a newer answer than ours, and would otherwise be refused meanwhile. A
// look-up that has begun goes on; enough, which may be nil, ends the wait for one that
// has not ended but learned what the caller wants to know.
func (r *Resolver) await(ctx context.Context, n *name, by asker, enough func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longestWait, errNoTime)
	defer cancel()
	f, err := r.request(n, by, waits)
	if f == nil && err == nil {
		if err := pause(ctx, n.untilTurn(r.now())); err != nil {
			return err
		}
		f, err = r.request(n, by, waits)
	}
	if err != nil {
		return err
	}
	if f == nil { // somebody else's look-up has just ended
		return n.lastFailure()
	}
	defer n.leave(f)
	for {
		news := n.nextAnswer()
		if enough != nil && enough() {
			return nil
		}
		select {
		case <-news:
		case <-f.done:
			return n.lastFailure()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// untilTurn is how long a name has to be left alone before its next look-up.
func (n *name) untilTurn(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pause() - now.Sub(n.asked)
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

// tell says how the look-up of a kept name ended, if that is news.
func (r *Resolver) tell(n *name, before, err error) {
	if !n.kept.Load() || r.ctx.Err() != nil {
		return // who asked is told
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
