package operator

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// call sends a message as the workload, reads the answer into out and returns when
// it came. Where the authority does not accept the key, and may have another one of
// the workload's, that is tried: the answer to a renewal can be lost, and it can be
// somebody else's.
func (c *Client) call(ctx context.Context, m message, path string, out any) (time.Time, error) {
	w, err := c.enrolled(ctx)
	if err != nil {
		return time.Time{}, err
	}
	received, err := c.callAs(ctx, w, m, path, out)
	if isUnknownKey(err) {
		if other := c.other(w); other != nil {
			received, err = c.callAs(ctx, other, m, path, out)
			if err == nil {
				c.adopt(ctx, other)
				w = other
			}
		}
	}
	if err != nil {
		return time.Time{}, c.explain(err, w)
	}
	c.prove(w)
	return received, nil
}

// callAs is one exchange, authenticated as this member.
func (c *Client) callAs(ctx context.Context, w *member, m message, path string, out any) (time.Time, error) {
	return c.caller.exchange(ctx, path, func(at time.Time) (message, error) {
		var err error
		m.bearer, err = w.signer.assertion(w.enrolment.WorkloadID, at)
		return m, err
	}, out)
}

// isUnknownKey reports whether the authority did not accept who signed.
func isUnknownKey(err error) bool {
	var a *answerError
	return errors.As(err, &a) && a.status == http.StatusUnauthorized && !isClockError(err)
}

// other returns the member that a refused one may be in truth, or nil.
func (c *Client) other(refused *member) *member {
	now := c.member.Load()
	switch {
	case now == nil:
		return nil
	case now.signer.key.thumbprint != refused.signer.key.thumbprint:
		return now
	case now.next != nil:
		return c.successor(now)
	case now.former != nil:
		return &member{enrolment: now.enrolment, signer: c.signer(now.former), next: now.signer.key}
	}
	return nil
}

// successor returns what a member with a next key becomes by it.
func (c *Client) successor(m *member) *member {
	return &member{enrolment: m.enrolment, signer: c.signer(m.next), former: m.signer.key}
}

// adopt makes this member, whose key the authority has accepted, the one that the
// folder holds. Where that does not work out, the next call, or the next run, does
// the same again.
func (c *Client) adopt(ctx context.Context, later *member) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
		_ = c.adoptNow(later)
	case <-ctx.Done():
	}
}

// adoptNow is adopt for who has the turn. The key that it replaces is kept, as who
// accepted the other need not have been the authority.
func (c *Client) adoptNow(later *member) error {
	now := c.member.Load()
	var err error
	switch {
	case now == nil:
		return nil // the client is closed
	case later.signer.key.is(now.next):
		err = c.folder.exchangeKey(later.signer.key, nextKeyFile, formerKeyFile)
	case later.signer.key.is(now.former):
		err = c.folder.exchangeKey(later.signer.key, formerKeyFile, nextKeyFile)
	default:
		return nil // somebody else has done it
	}
	if err != nil {
		return err
	}
	c.member.Store(later)
	return nil
}

// prove remembers that a call by this member's key has succeeded.
func (c *Client) prove(m *member) {
	if m.proved {
		return
	}
	proved := *m
	proved.proved = true
	c.member.CompareAndSwap(m, &proved)
}
