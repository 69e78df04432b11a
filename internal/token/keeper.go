package token

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keep is the keeper of one entry, from the first Get until the key is dropped:
//
//	          ┌────────────── kicked by Get after the pause ─────────────┐
//	          ▼                                                          │
//	Get ─▶ obtaining ──failed, never had a token──▶ left alone ──2 min unused──▶ gone
//	        │  ▲   │                                                     ▲
//	        │  │   └──failed, token held──▶ backing off ──┐              │
//	        │  └──────────────────────────────────────────┤              │
//	        ok └─────80 % of life, or rejected──┐         └──unused──────┤
//	        └──────────────────────────────▶ warm ───────────unused──────┘
//
// Cancelling ctx ends it from anywhere: the source was replaced, the key evicted
// or the cache closed.
func (c *Cache) keep(ctx context.Context, e *entry) {
	defer c.keepers.Done()
	defer e.cancel()
	defer e.leave()
	defer c.forget(e)

	for failures := 0; ; {
		t, err := c.attempt(ctx, e)
		if ctx.Err() != nil {
			return
		}
		now := c.now()
		var pause time.Duration
		if err == nil {
			c.reportRecovery(e, failures)
			failures = 0
			pause = c.schedule.renewal(t.expires.Sub(now))
			e.held.Store(&held{token: t, expires: t.expires.UnixNano()})
		} else {
			failures++
			pause = c.schedule.backOff(failures) + busyFor(err, now)
			c.reportFailure(e, err, failures, now, pause)
		}
		e.land(err, now.Add(pause))
		if !c.rest(ctx, e, pause) {
			return
		}
	}
}

// busyFor returns for how long the source wants not to be asked. The back-off comes
// on top, so that those who were all told the same do not come back at once.
func busyFor(err error, now time.Time) time.Duration {
	var busy *BusyError
	if !errors.As(err, &busy) {
		return 0
	}
	return max(busy.Until.Sub(now), 0)
}

// attempt asks the source once and tells the observer.
func (c *Cache) attempt(ctx context.Context, e *entry) (Token, error) {
	e.begin()
	o := Obtaining{Start: c.now(), Request: e.request, Renewal: e.held.Load() != nil}
	t, err := c.fetch(ctx, e)
	o.End = c.now()
	if err == nil {
		err = checkFresh(t, o.End)
	}
	if err != nil {
		t, o.Err = Token{}, fmt.Errorf("obtain token for %v: %w", e.request, err)
	} else {
		o.TokenID, o.Expires = t.id, t.expires
	}
	if ctx.Err() == nil { // else nobody wanted it any more
		c.observer.Obtained(o)
	}
	return t, o.Err
}

// fetch calls the source, for so long.
func (c *Cache) fetch(ctx context.Context, e *entry) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, c.fetchTimeout)
	defer cancel()
	t, err := e.source.Fetch(ctx, e.request)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, ErrUnreachable) {
		err = fmt.Errorf("%w: no answer within %v: %w", ErrUnreachable, c.fetchTimeout, err)
	}
	return t, err
}

// checkFresh refuses what a source must not hand out.
func checkFresh(t Token, now time.Time) error {
	if t.IsZero() {
		return errors.New("source returned no token")
	}
	if !now.Before(t.expires) {
		return fmt.Errorf("%w: token expired at %s, now is %s: compare this host's clock with the authority's", ErrClock,
			t.expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// rest waits until the key is due again and reports whether it is still wanted. A
// key that never had a token is due only when somebody asks for it: a program
// that gave up must not have the agent knock at the authority for ever.
func (c *Cache) rest(ctx context.Context, e *entry, pause time.Duration) bool {
	cold := e.held.Load() == nil
	if cold {
		pause = forgetFailed
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-e.kick:
		return true
	case <-timer.C:
	}
	unused := time.Duration(c.minute(c.now())-e.lastUse.Load()) * time.Minute
	return !cold && unused < c.idleAfter
}

// reportFailure logs what no caller is told, because a token is still served or
// nobody asks just now: the first failure in a row, and the token's end.
func (c *Cache) reportFailure(e *entry, err error, failures int, now time.Time, pause time.Duration) {
	h := e.held.Load()
	if h == nil {
		return // every caller gets the error
	}
	_, valid := e.token(now)
	expiresBeforeNext := valid && !now.Add(pause).Before(h.token.expires)
	if failures > 1 && !expiresBeforeNext {
		return
	}
	c.logger.Warn("token not renewed; the old one is served until it expires",
		"identity", e.request.Identity, "audience", e.request.Audience, "error", err,
		"expires", h.token.expires, "failures", failures, "next_attempt_in", pause)
}

// reportRecovery logs the end of what reportFailure logged.
func (c *Cache) reportRecovery(e *entry, failures int) {
	if failures > 0 && e.held.Load() != nil {
		c.logger.Info("token renewed again", "identity", e.request.Identity,
			"audience", e.request.Audience, "failures", failures)
	}
}
