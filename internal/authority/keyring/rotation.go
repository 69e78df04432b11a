package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const (
	// JWKSMaxAge is how long verifiers may keep the published keys.
	JWKSMaxAge = 10 * time.Minute
	// PublishAhead is how long a next key is published before it signs: JWKSMaxAge, and
	// a minute for an answer that was on its way when the key was made.
	PublishAhead = JWKSMaxAge + time.Minute
	// MinPeriod is the shortest period: what a key signed outlives it by two days, and
	// the JWKS must stay small.
	MinPeriod = time.Hour

	leeway      = 5 * time.Minute     // of verifiers' clocks
	revokedKept = 90 * 24 * time.Hour // so that administrators can see what became of a key
)

// Actions of a Change.
const (
	ActionCreate   = "create"
	ActionActivate = "activate"
	ActionRetire   = "retire"
	ActionRevoke   = "revoke"
	ActionRemove   = "remove"
)

// Change is one change of one key.
type Change struct {
	Action string
	KeyID  string
	Why    string
}

// Recorder records a change in the write that makes it.
type Recorder func(*store.Tx, Change) error

// TooEarlyError refuses a rotation to a key that verifiers may not know yet.
type TooEarlyError struct {
	KeyID string
	From  time.Time // when the key may sign
}

func (e *TooEarlyError) Error() string {
	return fmt.Sprintf("the next key %s was published less than %s ago, so that verifiers may not know it; it can sign from %s on",
		e.KeyID, PublishAhead, e.From.UTC().Format(time.RFC3339))
}

// Maintain puts in force what another process did to the keys, and does what is due:
// rotation, and removal of what has expired.
func (k *Keyring) Maintain(ctx context.Context, now time.Time, record Recorder) error {
	keys, err := k.reload(ctx)
	if err != nil || !k.isDue(keys, now) {
		return err
	}
	return k.change(ctx, now, record, (*change).settle)
}

func (k *Keyring) reload(ctx context.Context) ([]store.SigningKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys, err := k.config.Store.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return nil, err
	}
	now, err := assemble(keys, k.config.Box)
	if err == nil {
		k.current.Store(now)
	}
	return keys, err
}

// Rotate has the next key sign from now on. The former one stays published until
// what it signed has expired. Where the next key is too young it is a
// *TooEarlyError.
func (k *Keyring) Rotate(ctx context.Context, now time.Time, record Recorder) error {
	return k.change(ctx, now, record, func(c *change) error {
		before := c.find(store.KeyActive)
		if before == nil {
			return c.settle()
		}
		signed := before.ID
		if err := c.settle(); err != nil || c.find(store.KeyActive).ID != signed {
			return err // it was due anyway
		}
		if next := c.find(store.KeyNext); now.Before(next.CreatedAt.Add(PublishAhead)) {
			return &TooEarlyError{KeyID: next.ID, From: next.CreatedAt.Add(PublishAhead)}
		}
		return c.rotate("asked for")
	})
}

// Revoke takes a key out of use and out of the JWKS, at once. If it was the active
// one the next one takes over, known to all verifiers or not. A key that is revoked
// already stays so; one that is not there is store.ErrNotFound.
func (k *Keyring) Revoke(ctx context.Context, id string, now time.Time, record Recorder) error {
	return k.change(ctx, now, record, func(c *change) error {
		i := slices.IndexFunc(c.keys, func(key store.SigningKey) bool { return key.ID == id })
		if i < 0 {
			return store.ErrNotFound
		}
		key := &c.keys[i]
		if key.State == store.KeyRevoked {
			return nil
		}
		key.State, key.RevokedAt, key.Sealed = store.KeyRevoked, now, ""
		if err := c.update(key, ActionRevoke, "asked for"); err != nil {
			return err
		}
		return c.settle()
	})
}

// errNoSpare asks for a new key to be made: that takes too long for the store's
// writing goroutine, which runs a change.
var errNoSpare = errors.New("no key is at hand")

// change makes a change and then puts it in force. The keys are assembled before
// the commit, so that a change which cannot be put in force does not happen.
func (k *Keyring) change(ctx context.Context, now time.Time, record Recorder, apply func(*change) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		var after *ring
		c := &change{k: k, now: now, record: record}
		err := k.config.Store.Write(ctx, func(tx *store.Tx) (err error) {
			c.tx = tx
			if c.keys, err = tx.SigningKeys(store.PurposeIDToken); err != nil {
				return err
			}
			if err := apply(c); err != nil {
				return err
			}
			after, err = assemble(c.keys, k.config.Box)
			return err
		})
		switch {
		case err == nil:
			k.current.Store(after)
			k.spares = k.spares[c.used:]
			return nil
		case !errors.Is(err, errNoSpare):
			return err
		}
		spare, err := newKey(k.config.Algorithm, k.config.Box)
		if err != nil {
			return err
		}
		k.spares = append(k.spares, spare)
	}
}

// change is a change of the keys inside a write.
type change struct {
	k      *Keyring
	tx     *store.Tx
	now    time.Time
	record Recorder
	keys   []store.SigningKey // as the write leaves them
	used   int                // of the spares
}

// isDue reports whether settle would change anything.
func (k *Keyring) isDue(keys []store.SigningKey, now time.Time) bool {
	c := &change{k: k, now: now, keys: keys}
	next := c.find(store.KeyNext)
	return c.find(store.KeyActive) == nil || next == nil || next.Algorithm != k.config.Algorithm ||
		slices.ContainsFunc(keys, c.isGone) || c.isRotationDue()
}

// settle brings the keys to where there is one active key that is not overdue, one
// next key that is fit to follow, and nothing that has expired.
func (c *change) settle() error {
	for _, key := range slices.Clone(c.keys) {
		if c.isGone(key) {
			if err := c.remove(key.ID, "it signed nothing that is still valid"); err != nil {
				return err
			}
		}
	}
	if err := c.ensureNext(); err != nil {
		return err
	}
	if c.find(store.KeyActive) == nil {
		if err := c.activate("there was no active key"); err != nil {
			return err
		}
	}
	if c.isRotationDue() {
		return c.rotate("the period is over")
	}
	return nil
}

// ensureNext makes a next key where there is none that is fit to follow.
func (c *change) ensureNext() error {
	if next := c.find(store.KeyNext); next != nil {
		_, err := unseal(*next, c.k.config.Box)
		switch {
		case err != nil:
			err = c.remove(next.ID, "its private part cannot be opened")
		case next.Algorithm != c.k.config.Algorithm:
			err = c.remove(next.ID, "never used; the algorithm of new keys is now "+c.k.config.Algorithm)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	if c.used == len(c.k.spares) {
		return errNoSpare
	}
	fresh := c.k.spares[c.used]
	c.used++
	fresh.CreatedAt, fresh.Version = c.now, 1
	c.keys = append(c.keys, fresh)
	return errors.Join(c.tx.InsertSigningKey(fresh), c.record(c.tx, Change{ActionCreate, fresh.ID, "to be the next key"}))
}

func (c *change) isRotationDue() bool {
	active, next := c.find(store.KeyActive), c.find(store.KeyNext)
	return active != nil && next != nil &&
		!c.now.Before(active.ActivatedAt.Add(c.k.config.Period)) && !c.now.Before(next.CreatedAt.Add(PublishAhead))
}

func (c *change) rotate(why string) error {
	active := c.find(store.KeyActive)
	active.State, active.RetiredAt, active.Sealed = store.KeyRetired, c.now, ""
	if err := c.update(active, ActionRetire, why); err != nil {
		return err
	}
	return c.activate(why)
}

// activate has the next key sign, and makes another one to follow it.
func (c *change) activate(why string) error {
	next := c.find(store.KeyNext)
	next.State, next.ActivatedAt = store.KeyActive, c.now
	if err := c.update(next, ActionActivate, why); err != nil {
		return err
	}
	return c.ensureNext()
}

// isGone reports whether nothing that the key signed can still be valid.
func (c *change) isGone(key store.SigningKey) bool {
	switch key.State {
	case store.KeyRetired:
		return c.now.After(key.RetiredAt.Add(c.k.config.MaxTokenLife + leeway))
	case store.KeyRevoked:
		return c.now.After(key.RevokedAt.Add(revokedKept))
	}
	return false
}

// find returns the key in that state, of which there is one at most, or nil.
func (c *change) find(state string) *store.SigningKey {
	i := slices.IndexFunc(c.keys, func(key store.SigningKey) bool { return key.State == state })
	if i < 0 {
		return nil
	}
	return &c.keys[i]
}

func (c *change) update(key *store.SigningKey, action, why string) error {
	return errors.Join(c.tx.UpdateSigningKey(*key), c.record(c.tx, Change{action, key.ID, why}))
}

func (c *change) remove(id, why string) error {
	c.keys = slices.DeleteFunc(c.keys, func(key store.SigningKey) bool { return key.ID == id })
	return errors.Join(c.tx.DeleteSigningKey(id), c.record(c.tx, Change{ActionRemove, id, why}))
}
