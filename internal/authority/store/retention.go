package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// forgottenAtOnce bounds the events that one write removes: others wait meanwhile.
const forgottenAtOnce = 1000

// Retention says which events of a class go.
type Retention struct {
	Through int64 // all up to this sequence number, for their age
	Keep    int64 // all but so many of the newest, for their number; 0 is any number
}

// Forgotten is how many events went, and why.
type Forgotten struct{ Aged, Dropped int64 }

// ForgetEvents removes the oldest events of a class. What goes for its number is counted
// in the same write, for TakeDropped.
func (s *Store) ForgetEvents(ctx context.Context, class Class, r Retention) (Forgotten, error) {
	var all Forgotten
	for {
		var some Forgotten
		err := s.Write(ctx, func(tx *Tx) (err error) {
			some, err = tx.forgetEvents(class, r)
			return err
		})
		if err != nil {
			return all, fmt.Errorf("forget events of class %q: %w", class, err)
		}
		all.Aged, all.Dropped = all.Aged+some.Aged, all.Dropped+some.Dropped
		if some.Aged+some.Dropped < forgottenAtOnce {
			return all, nil
		}
	}
}

// forgetEvents makes the last event that it removes the anchor of its chain.
func (tx *Tx) forgetEvents(class Class, r Retention) (Forgotten, error) {
	excess := int64(0)
	if r.Keep > 0 {
		excess = tx.store.kept[class.index()] + tx.kept[class.index()] - r.Keep
	}
	if excess <= 0 && r.Through <= 0 {
		return Forgotten{}, nil
	}
	gone, last, hash, err := tx.oldest(class, r.Through, excess)
	if err != nil || gone.Aged+gone.Dropped == 0 {
		return Forgotten{}, err
	}
	for _, statement := range []struct {
		query string
		args  []any
	}{
		{`UPDATE event_chains SET (head_seq, head_hash) = (SELECT seq, hash FROM events WHERE events.class = event_chains.class ORDER BY seq DESC LIMIT 1)
			WHERE EXISTS (SELECT 1 FROM events WHERE events.class = event_chains.class)`, nil},
		{"UPDATE event_chains SET seq = $1, hash = $2 WHERE class = $3", []any{last, hash, class}},
		{"UPDATE event_chains SET dropped = dropped + $1 WHERE class = $2", []any{gone.Dropped, class}},
		{"DELETE FROM events WHERE class = $1 AND seq <= $2", []any{class, last}},
	} {
		if _, err := tx.note(statement.query, statement.args...); err != nil {
			return Forgotten{}, err
		}
	}
	tx.kept[class.index()] -= gone.Aged + gone.Dropped
	return gone, nil
}

// oldest looks at the oldest events of a class: how many are to go, and the last of them.
func (tx *Tx) oldest(class Class, through, excess int64) (gone Forgotten, last int64, hash string, err error) {
	rows, err := tx.query("SELECT seq, hash FROM events WHERE class = $1 ORDER BY seq LIMIT $2", class, forgottenAtOnce)
	if err != nil {
		return gone, 0, "", err
	}
	defer rows.Close()
	for rows.Next() {
		var sequence int64
		var digest string
		if err := rows.Scan(&sequence, &digest); err != nil {
			return gone, 0, "", explain(err)
		}
		switch {
		case sequence <= through:
			gone.Aged++
		case gone.Aged+gone.Dropped < excess:
			gone.Dropped++
		default:
			return gone, last, hash, nil
		}
		last, hash = sequence, digest
	}
	return gone, last, hash, explain(rows.Err())
}

// TakeDropped returns how many events of the class went for their number and were not
// told of yet: who takes them tells, in the same write.
func (tx *Tx) TakeDropped(class Class) (int64, error) {
	dropped, err := tx.count("SELECT dropped FROM event_chains WHERE class = $1", class)
	if err != nil || dropped == 0 {
		return 0, err
	}
	_, err = tx.note("UPDATE event_chains SET dropped = 0 WHERE class = $1", class)
	return dropped, err
}

// Mark says which events were there when so much time had passed, by a clock that
// nobody sets.
type Mark struct {
	Sequence  int64
	Witnessed time.Duration
	At        time.Time // by the clock on the wall
}

// LastMark returns the newest mark, or ErrNotFound.
func (q Queries) LastMark() (Mark, error) {
	var m Mark
	var witnessed, at int64
	err := q.row([]any{&m.Sequence, &witnessed, &at}, "SELECT seq, witnessed, at FROM event_marks ORDER BY rowid DESC LIMIT 1")
	m.Witnessed, m.At = time.Duration(witnessed)*time.Millisecond, fromMilliseconds(at)
	return m, err
}

// LastRecorded returns what the clock on the wall said when an event or a mark was
// recorded last; zero if nothing was yet.
func (q Queries) LastRecorded() (time.Time, error) {
	at, err := q.count(`SELECT max(coalesce((SELECT at FROM events ORDER BY seq DESC LIMIT 1), 0),
		coalesce((SELECT at FROM event_marks ORDER BY rowid DESC LIMIT 1), 0))`)
	if err != nil || at == 0 {
		return time.Time{}, err
	}
	return fromMilliseconds(at), nil
}

// MarkEvents marks the events that there are.
func (tx *Tx) MarkEvents(witnessed time.Duration, at time.Time) error {
	sequence, err := tx.lastSequence()
	if err != nil {
		return err
	}
	_, err = tx.note("INSERT INTO event_marks (seq, witnessed, at) VALUES ($1, $2, $3)", sequence, witnessed.Milliseconds(), milliseconds(at))
	return err
}

// MarkedBy returns the number of the newest event that was there by then, 0 if none is
// known to have been.
func (q Queries) MarkedBy(witnessed time.Duration) (int64, error) {
	return q.count("SELECT coalesce(max(seq), 0) FROM event_marks WHERE witnessed <= $1", witnessed.Milliseconds())
}

// ForgetMarks removes the marks that are older than the newest one of those by then.
func (tx *Tx) ForgetMarks(witnessed time.Duration) error {
	_, err := tx.note("DELETE FROM event_marks WHERE witnessed < (SELECT max(witnessed) FROM event_marks WHERE witnessed <= $1)", witnessed.Milliseconds())
	return err
}

// CountEvent counts a decision together with those alike that were not told of yet: of
// the same kind and outcome, about the same. In the write that it is of, so that nothing
// is decided without a record.
func (tx *Tx) CountEvent(e Event) error {
	_, err := tx.note(`INSERT INTO counted_events (kind, allowed, admin_id, ticket_id, workload_id, resource, reason, count)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (kind, allowed, admin_id, ticket_id, workload_id, resource) DO UPDATE SET count = count + excluded.count, reason = excluded.reason`,
		e.Kind, e.Allowed, e.AdminID, e.TicketID, e.WorkloadID, e.Resource, e.Reason, max(e.Count, 1))
	if err != nil {
		return fmt.Errorf("count event: %w", err)
	}
	return nil
}

// TakeCounted returns up to limit of the events that were counted together: who takes
// them appends them, in the same write.
func (tx *Tx) TakeCounted(limit int) ([]Event, error) {
	rows, err := tx.query("SELECT kind, allowed, admin_id, ticket_id, workload_id, resource, reason, count FROM counted_events LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("list counted events: %w", err)
	}
	defer rows.Close()
	var all []Event
	for rows.Next() {
		var e Event
		if err := rows.Scan(&e.Kind, &e.Allowed, &e.AdminID, &e.TicketID, &e.WorkloadID, &e.Resource, &e.Reason, &e.Count); err != nil {
			return nil, fmt.Errorf("list counted events: %w", explain(err))
		}
		all = append(all, e)
	}
	if err := errors.Join(explain(rows.Err()), rows.Close()); err != nil {
		return nil, err
	}
	for _, e := range all {
		if _, err := tx.note(`DELETE FROM counted_events WHERE kind = $1 AND allowed = $2 AND admin_id = $3 AND ticket_id = $4 AND workload_id = $5 AND resource = $6`,
			e.Kind, e.Allowed, e.AdminID, e.TicketID, e.WorkloadID, e.Resource); err != nil {
			return nil, err
		}
	}
	return all, nil
}
