package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// ErrTampered marks a chain of events that is not as it was written.
var ErrTampered = errors.New("the activity was changed")

// Hash returns the hash of an event that follows one of its class with the hash previous,
// "" for the first of all: the SHA-256, in lower-case hexadecimal, of these values,
// each as a netstring, which is its length in bytes in decimal, a colon, the bytes
// and a comma:
//
//	hash of the event before of the same class
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

// Chain says what VerifyEvents has found intact. Somebody who can write the file
// can compute a whole new chain; who keeps the end of each class elsewhere sees that.
type Chain struct {
	First    int64  // sequence number of the oldest event
	Sequence int64  // of the newest one; less than First if there is none
	Hash     string // of the newest one, or where there is none what the next one follows
	Classes  []ClassChain
}

// VerifyEvents computes the hash of every event anew. An event that was changed,
// put in, moved or removed, other than by retention, is an ErrTampered that names
// the first place where a chain does not hold. One call at a time looks.
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

// eventColumnsBeforeClasses are those of the schema that chainOldEvents finds.
const eventColumnsBeforeClasses = `seq, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, resource, audiences, count, hash, ''`

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
	var sequence int64
	hash := ""
	for {
		events, err := q.events("SELECT "+eventColumnsBeforeClasses+" FROM events WHERE seq > $1 ORDER BY seq LIMIT $2", []any{sequence, maxOldEvents})
		switch {
		case err != nil:
			return err
		case len(events) == 0:
			return beginChain(ctx, tx, sequence)
		}
		for _, e := range events {
			sequence, hash = e.Sequence, e.Hash(hash)
			if _, err := chain.ExecContext(ctx, hash, sequence); err != nil {
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
