package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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
	inserted, err := tx.change("INSERT INTO spent_ids (digest, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		spentDigest(sender, id), milliseconds(expires))
	tx.spent += inserted
	return inserted == 1, err
}

// IsSpent reports whether the sender has used the JWT id. What SpendID says in a
// write counts; this spares one.
func (q Queries) IsSpent(sender, id string) (bool, error) {
	n, err := q.count("SELECT COUNT(*) FROM spent_ids WHERE digest = $1", spentDigest(sender, id))
	if err != nil {
		return false, fmt.Errorf("read spent ids: %w", err)
	}
	return n > 0, nil
}

func spentDigest(sender, id string) string {
	sum := sha256.Sum256([]byte(sender + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
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
