package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// ErrTampered marks a chain of events that is not as it was written.
var ErrTampered = errors.New("the activity was changed")

// link is an event's place in the chain: what the next one builds on.
type link struct {
	sequence int64
	hash     string // "" before the first event of all
}

// Hash returns the hash of an event that follows one with the hash previous, ""
// for the first of all: the SHA-256, in lower-case hexadecimal, of these values,
// each as a netstring, which is its length in bytes in decimal, a colon, the bytes
// and a comma:
//
//	hash of the event before
//	sequence number, in decimal
//	time, in milliseconds since 1970 UTC, in decimal
//	kind
//	outcome: "allowed" or "refused"
//	reason
//	source
//	admin id
//	ticket id
//	workload id
//	token id
//	resource
//	audiences, each a netstring, one behind the other
//	count, in decimal
//
// So whoever has the events, from the database or exported, can compute it anew.
func (e Event) Hash(previous string) string {
	var audiences, text []byte
	for _, audience := range e.Audiences {
		audiences = appendNetstring(audiences, audience)
	}
	for _, value := range []string{
		previous, decimal(e.Sequence), decimal(milliseconds(e.At)), e.Kind, outcome(e.Allowed), e.Reason, e.Source,
		e.AdminID, e.TicketID, e.WorkloadID, e.TokenID, e.Resource, string(audiences), decimal(e.Count),
	} {
		text = appendNetstring(text, value)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func appendNetstring(to []byte, value string) []byte {
	to = strconv.AppendInt(to, int64(len(value)), 10)
	to = append(to, ':')
	to = append(to, value...)
	return append(to, ',')
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func outcome(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "refused"
}

// lastLink returns the end of the chain.
func (q Queries) lastLink() (link, error) {
	var last link
	err := q.row([]any{&last.sequence, &last.hash}, "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
	if errors.Is(err, ErrNotFound) {
		return q.anchor()
	}
	return last, err
}

// anchor returns what the oldest event that is kept follows.
func (q Queries) anchor() (link, error) {
	var anchor link
	if err := q.row([]any{&anchor.sequence, &anchor.hash}, "SELECT seq, hash FROM event_anchor"); err != nil {
		return link{}, fmt.Errorf("read the chain's anchor: %w", err)
	}
	return anchor, nil
}

// Chain says what VerifyEvents has found intact. Somebody who can write the file
// can compute a whole new chain; who keeps Sequence and Hash elsewhere sees that.
type Chain struct {
	First    int64  // sequence number of the oldest event
	Sequence int64  // of the newest one; less than First if there is none
	Hash     string // of the newest one
}

// VerifyEvents computes the hash of every event anew. An event that was changed,
// put in, moved or removed, other than by retention, is an ErrTampered that names
// the first place where the chain does not hold. One call at a time looks.
func (s *Store) VerifyEvents(ctx context.Context) (Chain, error) {
	select {
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	case <-ctx.Done():
		return Chain{}, fmt.Errorf("verify activity: %w", context.Cause(ctx))
	}
	// One transaction: retention must not move the anchor meanwhile.
	tx, err := s.reads.BeginTx(ctx, nil)
	if err != nil {
		return Chain{}, fmt.Errorf("verify activity: %w", explain(err))
	}
	statements := newStatements(tx)
	chain, err := Queries{ctx: ctx, statements: statements}.verifyEvents()
	statements.close()
	if err != nil {
		err = fmt.Errorf("verify activity: %w", err)
	}
	if end := tx.Rollback(); end != nil && !errors.Is(end, sql.ErrTxDone) {
		err = errors.Join(err, end)
	}
	return chain, err
}

func (q Queries) verifyEvents() (Chain, error) {
	last, err := q.anchor()
	if err != nil {
		return Chain{}, err
	}
	chain := Chain{First: last.sequence + 1}
	rows, err := q.query("SELECT " + eventColumns + " FROM events ORDER BY seq")
	if err != nil {
		return Chain{}, err
	}
	defer rows.Close()
	for rows.Next() {
		event, err := scanEvent(rows)
		switch {
		case err != nil:
			return Chain{}, err
		case event.Hash(last.hash) != event.Digest:
			return Chain{}, fmt.Errorf("%w: event %d, or the one before it, is not as it was written", ErrTampered, event.Sequence)
		}
		last = link{event.Sequence, event.Digest}
	}
	if err := rows.Err(); err != nil {
		return Chain{}, explain(err)
	}
	given, err := q.count(lastSequenceGiven)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Chain{}, err
	}
	if given > last.sequence {
		return Chain{}, fmt.Errorf("%w: there were %d events, and the last one is %d", ErrTampered, given, last.sequence)
	}
	chain.Sequence, chain.Hash = last.sequence, last.hash
	return chain, nil
}

// maxOldEvents is how many old events are chained at once.
const maxOldEvents = 100

// chainOldEvents is a migration: it hashes the events of a database from before
// there was a chain.
func chainOldEvents(ctx context.Context, tx *sql.Tx) error {
	statements := newStatements(tx)
	defer statements.close()
	q := Queries{ctx: ctx, statements: statements}
	chain, err := statements.get("UPDATE events SET hash = $1 WHERE seq = $2")
	if err != nil {
		return err
	}
	var last link
	for {
		events, err := q.EventsAfter(EventFilter{}, last.sequence, math.MaxInt64, maxOldEvents)
		switch {
		case err != nil:
			return err
		case len(events) == 0:
			return beginChain(ctx, tx, last.sequence)
		}
		for _, e := range events {
			last = link{e.Sequence, e.Hash(last.hash)}
			if _, err := chain.ExecContext(ctx, last.hash, last.sequence); err != nil {
				return err
			}
		}
	}
}

// beginChain sets the anchor before the first event. Retention may have removed all
// of them: the numbers go on from the last one given.
func beginChain(ctx context.Context, tx *sql.Tx, last int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE event_anchor SET seq = coalesce((SELECT min(seq) - 1 FROM events), ("+lastSequenceGiven+"), 0)")
	if err != nil || last == 0 {
		return err
	}
	return giveSequencesFrom(ctx, tx, last)
}
