package store

import (
	"database/sql"
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
	Class      Class  // says how long it is kept, and which chain it is in
}

// EventFilter says which events are meant; what is empty does not restrict them.
type EventFilter struct {
	Kind, Source                  string
	AdminID, TicketID, WorkloadID string
	Allowed                       *bool
	Since, Until                  time.Time // Until is not included
}

const eventColumns = `seq, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, resource, audiences, count, hash, class`

// eventConditions are those of an EventFilter and of two numbers between which the
// events are. One text for all filters: statements are kept prepared.
const eventConditions = ` FROM events WHERE seq > $1 AND seq < $2 AND ($3 = '' OR kind = $3) AND ($4 = '' OR source = $4)
	AND ($5 = '' OR admin_id = $5) AND ($6 = '' OR ticket_id = $6) AND ($7 = '' OR workload_id = $7)
	AND ($8 < 0 OR allowed = $8) AND at >= $9 AND ($10 = 0 OR at < $10)`

// AppendEvent adds an event to the end of the chain of its class, which is
// Administration where none is said.
func (tx *Tx) AppendEvent(e Event) error {
	if e.Class == "" {
		e.Class = Administration
	}
	previous, err := tx.endOf(e.Class)
	if err != nil {
		return err
	}
	e.Sequence, e.Count = tx.ends.sequence+1, max(e.Count, 1)
	hash := e.Hash(previous)
	_, err = tx.note("INSERT INTO events ("+eventColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
		e.Sequence, milliseconds(e.At), e.Kind, e.Allowed, e.Reason, e.Source, e.AdminID, e.TicketID, e.WorkloadID, e.TokenID,
		e.Resource, formatList(e.Audiences), e.Count, hash, e.Class)
	if err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	tx.ends.sequence, tx.ends.hashes[e.Class], tx.appended = e.Sequence, hash, true
	tx.kept[e.Class.index()]++
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
	if newest, err = q.lastSequence(); err != nil {
		return 0, 0, err
	}
	err = q.row([]any{&oldest}, "SELECT coalesce((SELECT min(seq) FROM events), $1 + 1)", newest)
	return oldest, newest, err
}

// EventWindowBefore returns the number of the first of the n events before that number,
// however far back it is, or the number itself if there is none.
func (q Queries) EventWindowBefore(before int64, n int) (first int64, err error) {
	err = q.row([]any{&first}, "SELECT coalesce(min(seq), $1) FROM (SELECT seq FROM events WHERE seq < $1 ORDER BY seq DESC LIMIT $2)", before, n)
	return first, err
}

// EventWindowAfter returns the number of the last of the n events after that number,
// or the number itself if there is none.
func (q Queries) EventWindowAfter(after int64, n int) (last int64, err error) {
	err = q.row([]any{&last}, "SELECT coalesce(max(seq), $1) FROM (SELECT seq FROM events WHERE seq > $1 ORDER BY seq LIMIT $2)", after, n)
	return last, err
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
		&e.WorkloadID, &e.TokenID, &e.Resource, &audiences, &e.Count, &e.Digest, &e.Class); err != nil {
		return Event{}, explain(err)
	}
	e.At = fromMilliseconds(at)
	var err error
	e.Audiences, err = parseList(audiences)
	return e, err
}
