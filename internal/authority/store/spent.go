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
	until  map[spentDigest]int64
	fresh  []spentDigest // of the batch that is not committed yet
	closed periods       // in which ids expired that are remembered no more
}

// SpendID remembers that the sender used the JWT id until expires, and reports
// whether that was the first time. Where it may not have been it was not: of what expires
// at a time whose ids are remembered no more, after a clock was set back, nobody can tell.
// Length and content of both do not matter.
func (tx *Tx) SpendID(sender, id string, expires time.Time) (bool, error) {
	spent := &tx.store.spent
	digest := spentDigest(sha256.Sum256([]byte(sender + "\x00" + id)))
	if _, known := spent.until[digest]; known || spent.closed.hold(milliseconds(expires)) {
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
	if err := s.closed.read(q); err != nil {
		return err
	}
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

const (
	// forgottenSpentAtOnce bounds the rows that one write removes: others wait meanwhile.
	forgottenSpentAtOnce = 1000
	// spentGrace is for how long an id that has expired is remembered where there is room:
	// if the clock is set back by less, nothing new is refused.
	spentGrace = time.Hour
	spentRoom  = MaxSpentIDs / 8
	// maxSpentLife is more than any id is spent for. What seems to be spent for longer
	// was when the clock was ahead.
	maxSpentLife = 10 * time.Minute
)

// ForgetSpentIDs removes the ids that expired before now, and closes the time in which
// they expired: what they could be told by is gone, and now may be wrong.
func (s *Store) ForgetSpentIDs(ctx context.Context, now time.Time) error {
	var past, ahead period
	err := s.Write(ctx, func(tx *Tx) (err error) {
		past, ahead, err = tx.closePeriods(now)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget spent ids: %w", err)
	}
	for _, gone := range []period{past, ahead} {
		if err := s.forgetSpent(ctx, gone); err != nil {
			return fmt.Errorf("forget spent ids: %w", err)
		}
	}
	return nil
}

// closePeriods closes those in which the ids expire that are to go. In memory at once: if
// the commit fails nothing is gone, and nothing is spent that would be.
func (tx *Tx) closePeriods(now time.Time) (past, ahead period, err error) {
	spent := &tx.store.spent
	before, after := milliseconds(now), milliseconds(now.Add(maxSpentLife))
	if len(spent.until) <= spentRoom {
		before = milliseconds(now.Add(-spentGrace))
	}
	for _, until := range spent.until {
		switch {
		case until < before:
			past.extend(until)
		case until > after:
			ahead.extend(until)
		}
	}
	if past.isNone() && ahead.isNone() {
		return past, ahead, nil
	}
	spent.closed.add(past)
	spent.closed.add(ahead)
	return past, ahead, spent.closed.write(tx)
}

// forgetSpent removes the ids that expire in a period that is closed.
func (s *Store) forgetSpent(ctx context.Context, gone period) error {
	if gone.isNone() {
		return nil
	}
	const remove = "DELETE FROM spent_ids WHERE rowid IN (SELECT rowid FROM spent_ids WHERE expires_at BETWEEN $1 AND $2 LIMIT $3)"
	for {
		var forgotten int64
		err := s.Write(ctx, func(tx *Tx) (err error) {
			forgotten, err = tx.note(remove, gone.From, gone.To, forgottenSpentAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if forgotten < forgottenSpentAtOnce {
			break
		}
	}
	// Last: what is still in the table is still remembered, and may be for longer.
	return s.Write(ctx, func(tx *Tx) error {
		maps.DeleteFunc(tx.store.spent.until, func(_ spentDigest, until int64) bool { return gone.holds(until) })
		return nil
	})
}
