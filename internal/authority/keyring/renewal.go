package keyring

import (
	"context"
	"fmt"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const restored = "restored from a backup"

// Renew replaces every key of a store that was restored from a backup: none of them
// signs again, as nobody knows what became of them, or of a copy of the backup, since.
// They stay published until what they may have signed has expired, or with revoke not
// at all. A new key signs at once, though no verifier knows it yet.
func Renew(ctx context.Context, config Config, now time.Time, revoke bool, record Recorder) error {
	k := &Keyring{config: config}
	return k.change(ctx, now, record, func(c *change) error {
		for i := range c.keys {
			if err := c.end(&c.keys[i], revoke); err != nil {
				return err
			}
		}
		return c.settle()
	})
}

// CheckBox refuses a box that is not the one in which the active key was sealed.
func CheckBox(box *Box, keys []store.SigningKey) error {
	for _, key := range keys {
		if key.State != store.KeyActive {
			continue
		}
		if _, err := unseal(key, box); err != nil {
			return fmt.Errorf("load signing key %s: %w", key.ID, err)
		}
	}
	return nil
}

// end has the key sign no more. Also the next one may have signed since the backup.
func (c *change) end(key *store.SigningKey, revoke bool) error {
	switch {
	case key.State == store.KeyRevoked, key.State == store.KeyRetired && !revoke:
		return nil
	case revoke:
		key.State, key.RevokedAt, key.Sealed = store.KeyRevoked, c.now, ""
		return c.update(key, ActionRevoke, restored)
	}
	key.State, key.RetiredAt, key.Sealed = store.KeyRetired, c.now, ""
	return c.update(key, ActionRetire, restored)
}
