package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"time"
)

// MaxSpentIDs bounds the JWT ids that are remembered at once. Each lives for a
// few minutes.
const MaxSpentIDs = 1 << 20

// spentDigest stands for a sender and its JWT id.
type spentDigest [sha256.Size]byte

// spentIDs are the ids that are remembered, each until a time in milliseconds. What is
// new is in the table too, in the same commit, for the next start; that nothing is spent
// twice they tell alone: one process has the file, and all its writes go through one
// goroutine, which has them.
type spentIDs struct {
	until map[spentDigest]int64
	fresh []spentDigest // of the batch that is not committed yet
}

// SpendID remembers that the sender used the JWT id until expires, and reports
// whether that was the first time. Length and content of both do not matter.
func (tx *Tx) SpendID(sender, id string, expires time.Time) (bool, error) {
	spent := &tx.store.spent
	digest := spentDigest(sha256.Sum256([]byte(sender + "\x00" + id)))
	if _, known := spent.until[digest]; known {
		return false, nil
	}
	if len(spent.until) >= MaxSpentIDs {
		return false, ErrFull
	}
	_, err := tx.note("INSERT INTO spent_ids (digest, expires_at) VALUES ($1, $2)",
		base64.RawURLEncoding.EncodeToString(digest[:]), milliseconds(expires))
	if err != nil {
		return false, err
	}
	spent.until[digest] = milliseconds(expires)
	spent.fresh = append(spent.fresh, digest)
	return true, nil
}

// undo forgets what was spent in the batch since there were count of them.
func (s *spentIDs) undo(count int) {
	for _, digest := range s.fresh[count:] {
		delete(s.until, digest)
	}
	s.fresh = s.fresh[:count]
}

// read takes what the table holds.
func (s *spentIDs) read(q Queries) error {
	s.until = make(map[spentDigest]int64)
	rows, err := q.query("SELECT digest, expires_at FROM spent_ids")
	if err != nil {
		return fmt.Errorf("read spent ids: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var until int64
		if err := rows.Scan(&text, &until); err != nil {
			return fmt.Errorf("read spent ids: %w", explain(err))
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(raw) != sha256.Size {
			return fmt.Errorf("read spent ids: %q is no digest; the database was changed", text)
		}
		s.until[spentDigest(raw)] = until
	}
	return explain(rows.Err())
}

// forgottenSpentAtOnce bounds the rows that one write removes: others wait meanwhile.
const forgottenSpentAtOnce = 1000

// ForgetSpentIDs removes the ids that expired before now.
func (s *Store) ForgetSpentIDs(ctx context.Context, now time.Time) error {
	const remove = "DELETE FROM spent_ids WHERE rowid IN (SELECT rowid FROM spent_ids WHERE expires_at < $1 LIMIT $2)"
	for {
		var forgotten int64
		err := s.Write(ctx, func(tx *Tx) (err error) {
			forgotten, err = tx.note(remove, milliseconds(now), forgottenSpentAtOnce)
			return err
		})
		if err != nil {
			return fmt.Errorf("forget spent ids: %w", err)
		}
		if forgotten < forgottenSpentAtOnce {
			break
		}
	}
	// Last: what is still in the table is still remembered, and may be for longer.
	return s.Write(ctx, func(tx *Tx) error {
		maps.DeleteFunc(tx.store.spent.until, func(_ spentDigest, until int64) bool { return until < milliseconds(now) })
		return nil
	})
}
