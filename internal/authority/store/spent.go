package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// MaxSpentIDs bounds the JWT ids that are remembered at once. Each lives for a
// few minutes.
const MaxSpentIDs = 1 << 20

// SpendID remembers that the sender used the JWT id until expires, and reports
// whether that was the first time. Length and content of both do not matter.
func (tx *Tx) SpendID(sender, id string, expires time.Time) (bool, error) {
	if tx.store.spent.Load()+tx.spent >= MaxSpentIDs {
		return false, ErrFull
	}
	sum := sha256.Sum256([]byte(sender + "\x00" + id))
	inserted, err := tx.note("INSERT INTO spent_ids (digest, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		base64.RawURLEncoding.EncodeToString(sum[:]), milliseconds(expires))
	tx.spent += inserted
	return inserted == 1, err
}

// ForgetSpentIDs removes the ids that expired before now.
func (s *Store) ForgetSpentIDs(ctx context.Context, now time.Time) error {
	var forgotten int64
	err := s.Write(ctx, func(tx *Tx) (err error) {
		forgotten, err = tx.change("DELETE FROM spent_ids WHERE expires_at < $1", milliseconds(now))
		return err
	})
	if err == nil {
		s.spent.Add(-forgotten)
	}
	return err
}
