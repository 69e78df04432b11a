package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// RenewKey has the authority take a new key of the workload's instead of the
// present one, if that is as old as maxAge, and reports whether it did. It can be
// interrupted anywhere: the new key is written first, and whichever of the two the
// authority has is found out by the next call. The former key is kept until the next
// renewal, in case it was not the authority that answered.
func (c *Client) RenewKey(ctx context.Context, maxAge time.Duration) (bool, error) {
	if _, err := c.enrolled(ctx); err != nil {
		return false, err
	}
	ctx, release, err := c.take(ctx)
	if err != nil {
		return false, fmt.Errorf("renew key: %w", err)
	}
	defer release()
	if c.closed {
		return false, errClosed
	}
	if now := c.member.Load(); now.former != nil && now.next == nil && !now.proved {
		return false, nil // the next call finds out which of these the authority has; a third would push one out
	}
	made, err := c.folder.keyMade()
	if err != nil || c.config.Now().Sub(made) < maxAge {
		return false, err
	}
	later, err := c.replaceKey(ctx)
	if err != nil && c.life.Err() != nil {
		return false, errClosed
	}
	if err != nil {
		return false, fmt.Errorf("renew key: %w", err)
	}
	return true, c.adoptNow(later)
}

// replaceKey offers the next key, which it makes first if there is none, and
// returns what the workload is by it.
func (c *Client) replaceKey(ctx context.Context) (*member, error) {
	now := *c.member.Load()
	if now.next == nil {
		next, err := c.folder.makeKey(nextKeyFile)
		if err != nil {
			return nil, err
		}
		now.next = next
		c.member.Store(&now) // calls that overlap may need it
	}
	later := c.successor(&now)
	err := c.offerKey(ctx, &now, later)
	if isUnknownKey(err) { // it may have the next one from an attempt that was cut off
		err = c.offerKey(ctx, later, later)
	}
	if err != nil {
		return nil, c.explain(err, &now)
	}
	return later, nil
}

// renewal is the protocol's request to take another key.
type renewal struct {
	Key   json.RawMessage `json:"jwk"`
	Proof string          `json:"proof"`
}

// offerKey asks, by the key of one member, to take that of the other.
func (c *Client) offerKey(ctx context.Context, by, offered *member) error {
	id := by.enrolment.WorkloadID
	var out struct {
		WorkloadID string `json:"workload_id"`
	}
	_, err := c.caller.exchange(ctx, newKeyPath, func(at time.Time) (message, error) {
		assertion, err := by.signer.assertion(id, at)
		if err != nil {
			return message{}, err
		}
		proof, err := offered.signer.succession(id, at)
		return message{bearer: assertion, body: renewal{Key: offered.signer.key.public, Proof: proof}}, err
	}, &out)
	if err == nil && out.WorkloadID != id {
		return answered("at %s%s what does not name workload %s; is that the operator's base?", c.caller.base, newKeyPath, id)
	}
	return err
}
