package store

import (
	"context"
	"fmt"
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
	Count      int64 // how many alike this one stands for; at least 1
}

// AppendEvent adds an event.
func (tx *Tx) AppendEvent(e Event) error {
	return tx.exec(`INSERT INTO events (at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, resource, audiences, count)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		milliseconds(e.At), e.Kind, e.Allowed, e.Reason, e.Source, e.AdminID, e.TicketID, e.WorkloadID, e.TokenID, e.Resource,
		formatList(e.Audiences), max(e.Count, 1))
}

// Events returns up to limit events, newest first.
func (q Queries) Events(limit int) ([]Event, error) {
	rows, err := q.query(`SELECT seq, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, resource, audiences, count
		FROM events ORDER BY seq DESC LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	var events []Event
	for rows.Next() {
		var e Event
		var at int64
		var audiences string
		if err := rows.Scan(&e.Sequence, &at, &e.Kind, &e.Allowed, &e.Reason, &e.Source, &e.AdminID, &e.TicketID,
			&e.WorkloadID, &e.TokenID, &e.Resource, &audiences, &e.Count); err != nil {
			return nil, fmt.Errorf("list events: %w", explain(err))
		}
		e.At = fromMilliseconds(at)
		if e.Audiences, err = parseList(audiences); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, explain(rows.Err())
}

// ForgetEvents removes events older than before, and all but the newest keep.
func (s *Store) ForgetEvents(ctx context.Context, before time.Time, keep int64) error {
	return s.Write(ctx, func(tx *Tx) error {
		return tx.exec(`DELETE FROM events WHERE at < $1 OR seq <= (SELECT MAX(seq) FROM events) - $2`,
			milliseconds(before), keep)
	})
}
