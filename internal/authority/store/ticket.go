package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// Statuses that a ticket is given. That it has expired or is used up follows
// from its other fields.
const (
	TicketActive      = "active"
	TicketDeactivated = "deactivated"
)

// Ticket is a registration code without its secret.
type Ticket struct {
	ID          string // public id, tk1:…
	Description string
	Role        string
	Status      string
	Tags        []string
	Audiences   []string      // none means any
	Networks    []string      // names of network lists; none means any source
	ExpiresAt   time.Time     // zero means never
	MaxUses     int64         // 0 means any number
	Uses        int64         // workloads enrolled
	Factory     string        // name of the factory that minted it, or ""
	WorkloadTTL time.Duration // from a workload's enrolment; 0 means for ever
	MaxTokenTTL time.Duration // of an ID token; 0 means as long as the authority's
	Closed      bool          // to new enrolments
	// ClosedBecause says why, where no administrator closed it; written by CloseTickets.
	ClosedBecause string
	Version       int64 // changes with every edit, not with a use
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

const ticketColumns = `tickets.id, tickets.description, tickets.role, tickets.status, tickets.tags, tickets.audiences, tickets.networks, tickets.factory,
	tickets.expires_at, tickets.max_uses, tickets.uses, tickets.workload_ttl_ms, tickets.max_token_ttl_ms, tickets.closed, tickets.closed_because, tickets.version, tickets.created_at, tickets.updated_at`

// ticketRow is where a row of ticketColumns goes.
type ticketRow struct {
	Ticket
	tags, audiences, networks                      string
	expires, ttl, tokenTTL, createdAt, lastUpdated int64
}

func (r *ticketRow) dest() []any {
	return []any{
		&r.ID, &r.Description, &r.Role, &r.Status, &r.tags, &r.audiences, &r.networks, &r.Factory,
		&r.expires, &r.MaxUses, &r.Uses, &r.ttl, &r.tokenTTL, &r.Closed, &r.ClosedBecause, &r.Version, &r.createdAt, &r.lastUpdated,
	}
}

func (r *ticketRow) ticket() (Ticket, error) {
	var err error
	if r.Tags, err = parseList(r.tags); err != nil {
		return Ticket{}, err
	}
	if r.Audiences, err = parseList(r.audiences); err != nil {
		return Ticket{}, err
	}
	if r.Networks, err = parseList(r.networks); err != nil {
		return Ticket{}, err
	}
	r.ExpiresAt = fromMilliseconds(r.expires)
	r.WorkloadTTL = time.Duration(r.ttl) * time.Millisecond
	r.MaxTokenTTL = time.Duration(r.tokenTTL) * time.Millisecond
	r.CreatedAt = fromMilliseconds(r.createdAt)
	r.UpdatedAt = fromMilliseconds(r.lastUpdated)
	return r.Ticket, nil
}

// Ticket returns the ticket of that public id, or ErrNotFound.
func (q Queries) Ticket(id string) (Ticket, error) {
	return q.oneTicket("SELECT "+ticketColumns+" FROM tickets WHERE id = $1", id)
}

// TicketBySecret returns the ticket whose secret has that digest, or ErrNotFound.
func (q Queries) TicketBySecret(secretSHA256 string) (Ticket, error) {
	return q.oneTicket("SELECT "+ticketColumns+" FROM tickets WHERE secret_sha256 = $1", secretSHA256)
}

func (q Queries) oneTicket(query, arg string) (Ticket, error) {
	var row ticketRow
	if err := q.row(row.dest(), query, arg); err != nil {
		return Ticket{}, fmt.Errorf("read ticket: %w", err)
	}
	return row.ticket()
}

// Tickets returns up to limit tickets, by id, after the one named ("" for the
// first).
func (q Queries) Tickets(after string, limit int) ([]Ticket, error) {
	rows, err := q.query("SELECT "+ticketColumns+" FROM tickets WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tickets: %w", err)
	}
	defer rows.Close()
	var tickets []Ticket
	for rows.Next() {
		var row ticketRow
		if err := rows.Scan(row.dest()...); err != nil {
			return nil, fmt.Errorf("list tickets: %w", explain(err))
		}
		ticket, err := row.ticket()
		if err != nil {
			return nil, err
		}
		tickets = append(tickets, ticket)
	}
	return tickets, explain(rows.Err())
}

// InsertTicket adds a ticket whose secret has that digest.
func (tx *Tx) InsertTicket(t Ticket, secretSHA256 string) error {
	err := tx.exec(`INSERT INTO tickets (id, secret_sha256, description, role, status, tags, audiences, networks,
			expires_at, max_uses, uses, workload_ttl_ms, version, created_at, updated_at, factory, closed, max_token_ttl_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, 1, $12, $12, $13, $14, $15)`,
		t.ID, secretSHA256, t.Description, t.Role, t.Status, formatList(t.Tags), formatList(t.Audiences), formatList(t.Networks),
		milliseconds(t.ExpiresAt), t.MaxUses, t.WorkloadTTL.Milliseconds(), milliseconds(t.CreatedAt), t.Factory, t.Closed,
		t.MaxTokenTTL.Milliseconds())
	if err != nil {
		return err
	}
	return tx.setTicketNetworks(t.ID, t.Networks)
}

// UpdateTicket stores all that can be edited of t, which must exist.
func (tx *Tx) UpdateTicket(t Ticket) error {
	err := tx.exec(`UPDATE tickets SET description = $1, role = $2, status = $3, tags = $4, audiences = $5, networks = $6, expires_at = $7,
			max_uses = $8, workload_ttl_ms = $9, version = version + 1, updated_at = $10,
			closed = $11, closed_because = CASE WHEN $11 THEN closed_because ELSE '' END,
			max_token_ttl_ms = $12 WHERE id = $13`,
		t.Description, t.Role, t.Status, formatList(t.Tags), formatList(t.Audiences), formatList(t.Networks), milliseconds(t.ExpiresAt),
		t.MaxUses, t.WorkloadTTL.Milliseconds(), milliseconds(t.UpdatedAt), t.Closed,
		t.MaxTokenTTL.Milliseconds(), t.ID)
	if err != nil {
		return err
	}
	return tx.setTicketNetworks(t.ID, t.Networks)
}

// CloseTickets closes every ticket that is open to new enrolments, for that reason,
// and returns how many there were.
func (tx *Tx) CloseTickets(because string, now time.Time) (int64, error) {
	return tx.change("UPDATE tickets SET closed = TRUE, closed_because = $1, version = version + 1, updated_at = $2 WHERE NOT closed",
		because, milliseconds(now))
}

// DeleteTicket removes a ticket, or returns ErrInUse where it has enrolled somebody.
func (tx *Tx) DeleteTicket(id string) error {
	return tx.exec("DELETE FROM tickets WHERE id = $1", id)
}

// CountUse counts one enrolment and reports whether the ticket had one left. The
// count and the comparison are one statement, so two enrolments that race for
// the last use cannot both have it.
func (tx *Tx) CountUse(ticketID string) (bool, error) {
	changed, err := tx.change("UPDATE tickets SET uses = uses + 1 WHERE id = $1 AND (max_uses = 0 OR uses < max_uses)", ticketID)
	return changed == 1, err
}

func formatList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(list) // a list of strings always marshals
	return string(text)
}

func parseList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read list from database: %w", err)
	}
	return list, nil
}
