package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// Event is one decision of the authority. It never holds a token, a secret or
// evidence.
type Event struct {
	Sequence   int64 // given by the store
	At         time.Time
	Kind       string // what was asked for
	Allowed    bool
	Reason     string // why it was refused, or ""
	Source     string // address of the peer
	AdminID    string
	TicketID   string
	WorkloadID string
	TokenID    string // jti of the issued token
	Resource   string // kind and name of what an administrator changed, if it has no field of its own here
	Audiences  []string
	Count      int64  // how many alike this one stands for; at least 1
	Digest     string // its Hash in the chain, given by the store
}

// EventFilter says which events are meant; what is empty does not restrict them.
type EventFilter struct {
	Kind, Source                  string
	AdminID, TicketID, WorkloadID string
	Allowed                       *bool
	Since, Until                  time.Time // Until is not included
}

const eventColumns = `seq, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, resource, audiences, count, hash`

// eventConditions are those of an EventFilter and of two numbers between which the
// events are. One text for all filters: statements are kept prepared.
const eventConditions = ` FROM events WHERE seq > $1 AND seq < $2 AND ($3 = '' OR kind = $3) AND ($4 = '' OR source = $4)
	AND ($5 = '' OR admin_id = $5) AND ($6 = '' OR ticket_id = $6) AND ($7 = '' OR workload_id = $7)
	AND ($8 < 0 OR allowed = $8) AND at >= $9 AND ($10 = 0 OR at < $10)`

// AppendEvent adds an event to the end of the chain.
func (tx *Tx) AppendEvent(e Event) error {
	if tx.last == nil {
		last, err := tx.lastLink()
		if err != nil {
			return err
		}
		tx.last = &last
	}
	e.Sequence, e.Count = tx.last.sequence+1, max(e.Count, 1)
	hash := e.Hash(tx.last.hash)
	_, err := tx.note("INSERT INTO events ("+eventColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		e.Sequence, milliseconds(e.At), e.Kind, e.Allowed, e.Reason, e.Source, e.AdminID, e.TicketID, e.WorkloadID, e.TokenID,
		e.Resource, formatList(e.Audiences), e.Count, hash)
	if err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	tx.last, tx.appended = &link{e.Sequence, hash}, true
	return nil
}

// Events returns up to limit events, newest first.
func (q Queries) Events(limit int) ([]Event, error) {
	return q.EventsBefore(EventFilter{}, 0, math.MaxInt64, limit)
}

// EventsBefore returns up to limit events with numbers above after and below
// before, newest first.
func (q Queries) EventsBefore(f EventFilter, after, before int64, limit int) ([]Event, error) {
	return q.events("SELECT "+eventColumns+eventConditions+" ORDER BY seq DESC LIMIT $11", f.args(after, before, limit))
}

// EventsAfter returns the same, oldest first.
func (q Queries) EventsAfter(f EventFilter, after, before int64, limit int) ([]Event, error) {
	return q.events("SELECT "+eventColumns+eventConditions+" ORDER BY seq LIMIT $11", f.args(after, before, limit))
}

// EventSequences returns the numbers of the oldest event and of the newest one, which
// is less than the oldest if there is none.
func (q Queries) EventSequences() (oldest, newest int64, err error) {
	before, err := q.anchor()
	if err != nil {
		return 0, 0, err
	}
	last, err := q.lastLink()
	return before.sequence + 1, max(last.sequence, before.sequence), err
}

func (f EventFilter) args(after, before int64, limit int) []any {
	allowed := -1
	if f.Allowed != nil {
		allowed = 0
		if *f.Allowed {
			allowed = 1
		}
	}
	return []any{after, before, f.Kind, f.Source, f.AdminID, f.TicketID, f.WorkloadID, allowed,
		milliseconds(f.Since), milliseconds(f.Until), limit}
}

func (q Queries) events(query string, args []any) ([]Event, error) {
	rows, err := q.query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	var events []Event
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		events = append(events, e)
	}
	return events, explain(rows.Err())
}

// scanEvent reads a row of eventColumns.
func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var at int64
	var audiences string
	if err := rows.Scan(&e.Sequence, &at, &e.Kind, &e.Allowed, &e.Reason, &e.Source, &e.AdminID, &e.TicketID,
		&e.WorkloadID, &e.TokenID, &e.Resource, &audiences, &e.Count, &e.Digest); err != nil {
		return Event{}, explain(err)
	}
	e.At = fromMilliseconds(at)
	var err error
	e.Audiences, err = parseList(audiences)
	return e, err
}

// forgottenAtOnce bounds the events that one write removes: others wait meanwhile.
const forgottenAtOnce = 1000

// ForgetEvents removes the oldest events up to the first one that is not older than
// before, and all but the newest keep.
func (s *Store) ForgetEvents(ctx context.Context, before time.Time, keep int64) error {
	for {
		var forgotten int64
		err := s.Write(ctx, func(tx *Tx) (err error) {
			forgotten, err = tx.forgetEvents(before, keep)
			return err
		})
		if err != nil || forgotten < forgottenAtOnce {
			return err
		}
	}
}

// forgetEvents makes the last event that it removes the anchor of the chain.
func (tx *Tx) forgetEvents(before time.Time, keep int64) (int64, error) {
	last, err := tx.lastLink()
	if err != nil {
		return 0, err
	}
	anchor, err := tx.anchor()
	if err != nil {
		return 0, err
	}
	kept := last.sequence + 1
	err = tx.row([]any{&kept}, "SELECT seq FROM events WHERE at >= $1 ORDER BY seq LIMIT 1", milliseconds(before))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	kept = min(max(kept, last.sequence-keep+1), anchor.sequence+1+forgottenAtOnce)
	if kept <= anchor.sequence+1 {
		return 0, nil
	}
	const moveAnchor = "UPDATE event_anchor SET (seq, hash) = (SELECT seq, hash FROM events WHERE seq < $1 ORDER BY seq DESC LIMIT 1)"
	if err := tx.exec(moveAnchor, kept); err != nil {
		return 0, err
	}
	return tx.change("DELETE FROM events WHERE seq < $1", kept)
}
