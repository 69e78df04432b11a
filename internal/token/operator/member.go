package operator

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// call sends a message as the workload, reads the answer into out and returns when
// it came. Where the authority does not accept the key, and may have the next one
// already, that is tried: the answer to a renewal can be lost.
func (c *Client) call(ctx context.Context, m message, path string, out any) (time.Time, error) {
	w, err := c.enrolled(ctx)
	if err != nil {
		return time.Time{}, err
	}
	received, err := c.callAs(ctx, w, m, path, out)
	if isUnknownKey(err) {
		if later := c.successor(w); later != nil {
			received, err = c.callAs(ctx, later, m, path, out)
			if !isUnknownKey(err) && !errors.Is(err, token.ErrUnreachable) {
				c.adopt(ctx, later)
			}
		}
	}
	if err != nil {
		return time.Time{}, c.explain(err, w)
	}
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

// successor returns the member that a refused one may have become meanwhile, or nil.
func (c *Client) successor(refused *member) *member {
	now := c.member.Load()
	switch {
	case now == nil:
		return nil
	case now.signer.key.thumbprint != refused.signer.key.thumbprint:
		return now
	case now.next != nil:
		return &member{enrolment: now.enrolment, signer: c.signer(now.next)}
	}
	return nil
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

// adoptNow is adopt for who has the turn.
func (c *Client) adoptNow(later *member) error {
	now := c.member.Load()
	if now == nil || now.next == nil || now.next.thumbprint != later.signer.key.thumbprint {
		return nil // somebody else has done it, or the client is closed
	}
	if err := c.folder.adoptNextKey(); err != nil {
		return err
	}
	c.member.Store(later)
	return nil
}
