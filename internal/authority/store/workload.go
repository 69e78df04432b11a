package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// contactResolution is how exactly the last contact is kept: a busy workload
// need not change its row with every token.
const contactResolution = time.Minute

// Workload is an enrolled workload.
type Workload struct {
	ID            string            // pr1:…
	TicketID      string            // the ticket that enrolled it
	Thumbprint    string            // of its public key
	JWK           string            // its public key
	Claimed       map[string]string // what it says about where it runs; not verified
	Status        string            // TicketActive or TicketDeactivated
	Version       int64             // changes with every edit, not with a contact
	CreatedAt     time.Time
	LastContactAt time.Time
}

const workloadColumns = `workloads.id, workloads.ticket_id, workloads.thumbprint, workloads.jwk, workloads.claimed,
	workloads.status, workloads.version, workloads.created_at, workloads.last_contact_at`

type workloadRow struct {
	Workload
	claimed                string
	createdAt, lastContact int64
}

func (r *workloadRow) dest() []any {
	return []any{&r.ID, &r.TicketID, &r.Thumbprint, &r.JWK, &r.claimed, &r.Status, &r.Version, &r.createdAt, &r.lastContact}
}

func (r *workloadRow) workload() (Workload, error) {
	if err := json.Unmarshal([]byte(r.claimed), &r.Claimed); err != nil {
		return Workload{}, fmt.Errorf("read workload %s: %w", r.ID, err)
	}
	r.CreatedAt, r.LastContactAt = fromMilliseconds(r.createdAt), fromMilliseconds(r.lastContact)
	return r.Workload, nil
}

// Enrolled is a workload with the ticket whose controls it is under.
type Enrolled struct {
	Workload Workload
	Ticket   Ticket
}

// Workload returns the workload of that id with its ticket, or ErrNotFound. Its maps
// and lists are shared: do not change them.
func (q Queries) Workload(id string) (Enrolled, error) {
	if q.memory == nil {
		return q.readWorkload(id)
	}
	found, changes, ok := q.memory.recall(id)
	if ok {
		return found, nil
	}
	found, err := q.readWorkload(id)
	if err == nil {
		q.memory.remember(found, changes)
	}
	return found, err
}

// CurrentWorkload is Workload inside a write: as it is once the writes before this one
// are committed. Mostly nothing was changed since it was remembered, and the write need
// not wait for the file.
func (tx *Tx) CurrentWorkload(id string) (Enrolled, error) {
	if !tx.altered {
		if found, _, ok := tx.store.memory.recall(id); ok {
			return found, nil
		}
	}
	return tx.readWorkload(id)
}

func (q Queries) readWorkload(id string) (Enrolled, error) {
	return q.oneWorkload("SELECT "+workloadColumns+", "+ticketColumns+
		" FROM workloads JOIN tickets ON tickets.id = workloads.ticket_id WHERE workloads.id = $1", id)
}

// WorkloadByKey returns the workload that the ticket enrolled for that key, or
// ErrNotFound.
func (q Queries) WorkloadByKey(ticketID, thumbprint string) (Enrolled, error) {
	return q.oneWorkload("SELECT "+workloadColumns+", "+ticketColumns+
		" FROM workloads JOIN tickets ON tickets.id = workloads.ticket_id WHERE ticket_id = $1 AND thumbprint = $2",
		ticketID, thumbprint)
}

func (q Queries) oneWorkload(query string, args ...any) (Enrolled, error) {
	var w workloadRow
	var t ticketRow
	if err := q.row(append(w.dest(), t.dest()...), query, args...); err != nil {
		return Enrolled{}, fmt.Errorf("read workload: %w", err)
	}
	return enrolled(&w, &t)
}

// Workloads returns up to limit workloads, by id, after the one named.
func (q Queries) Workloads(after string, limit int) ([]Enrolled, error) {
	rows, err := q.query("SELECT "+workloadColumns+", "+ticketColumns+
		" FROM workloads JOIN tickets ON tickets.id = workloads.ticket_id WHERE workloads.id > $1 ORDER BY workloads.id LIMIT $2",
		after, limit)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	defer rows.Close()
	var all []Enrolled
	for rows.Next() {
		var w workloadRow
		var t ticketRow
		if err := rows.Scan(append(w.dest(), t.dest()...)...); err != nil {
			return nil, fmt.Errorf("list workloads: %w", explain(err))
		}
		one, err := enrolled(&w, &t)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, explain(rows.Err())
}

func enrolled(w *workloadRow, t *ticketRow) (Enrolled, error) {
	workload, err := w.workload()
	if err != nil {
		return Enrolled{}, err
	}
	ticket, err := t.ticket()
	return Enrolled{Workload: workload, Ticket: ticket}, err
}

// InsertWorkload adds a workload.
func (tx *Tx) InsertWorkload(w Workload) error {
	claimed, err := json.Marshal(w.Claimed)
	if err != nil {
		return fmt.Errorf("write workload %s: %w", w.ID, err)
	}
	return tx.exec(`INSERT INTO workloads (id, ticket_id, thumbprint, jwk, claimed, created_at, last_contact_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6)`,
		w.ID, w.TicketID, w.Thumbprint, w.JWK, string(claimed), milliseconds(w.CreatedAt))
}

// SetWorkloadStatus lets an administrator stop one workload, or let it go on.
func (tx *Tx) SetWorkloadStatus(id, status string) error {
	return tx.exec("UPDATE workloads SET status = $1, version = version + 1 WHERE id = $2", status, id)
}

// ReplaceWorkloadKey makes another key the workload's only one.
func (tx *Tx) ReplaceWorkloadKey(id, thumbprint, jwk string) error {
	return tx.exec("UPDATE workloads SET thumbprint = $1, jwk = $2, version = version + 1 WHERE id = $3", thumbprint, jwk, id)
}

// Contacted notes that the workload was heard of, to the minute.
func (tx *Tx) Contacted(w Workload, now time.Time) error {
	if now.Sub(w.LastContactAt) < contactResolution {
		return nil
	}
	_, err := tx.note("UPDATE workloads SET last_contact_at = $1 WHERE id = $2 AND last_contact_at < $1",
		milliseconds(now), w.ID)
	tx.contacts = append(tx.contacts, contact{w.ID, now})
	return err
}
