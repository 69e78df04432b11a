package store

import (
	"context"
	"fmt"
	"time"
)

// TicketFactory is a template from which orchestrators mint tickets.
type TicketFactory struct {
	Name          string
	Description   string
	Status        string   // TicketActive or TicketDeactivated
	Orchestrators []string // names of tickets, and ids of workloads, that may use it
	Template      string   // JSON that only its writer understands
	Networks      []string // network lists that the template names; written, not read
	Minted        int64    // tickets, ever
	Closed        bool     // mints no tickets
	// ClosedBecause says why, where no administrator closed it; written by
	// CloseTicketFactories.
	ClosedBecause string
	Version       int64 // changes with every edit, not with a ticket
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

const ticketFactoryColumns = "name, description, status, orchestrators, template, minted, closed, closed_because, version, created_at, updated_at"

type ticketFactoryRow struct {
	TicketFactory
	orchestrators        string
	createdAt, updatedAt int64
}

func (r *ticketFactoryRow) dest() []any {
	return []any{&r.Name, &r.Description, &r.Status, &r.orchestrators, &r.Template, &r.Minted, &r.Closed, &r.ClosedBecause, &r.Version, &r.createdAt, &r.updatedAt}
}

func (r *ticketFactoryRow) factory() (TicketFactory, error) {
	var err error
	r.Orchestrators, err = parseList(r.orchestrators)
	r.CreatedAt, r.UpdatedAt = fromMilliseconds(r.createdAt), fromMilliseconds(r.updatedAt)
	return r.TicketFactory, err
}

// TicketFactory returns the factory of that name, or ErrNotFound.
func (q Queries) TicketFactory(name string) (TicketFactory, error) {
	var row ticketFactoryRow
	if err := q.row(row.dest(), "SELECT "+ticketFactoryColumns+" FROM ticket_factories WHERE name = $1", name); err != nil {
		return TicketFactory{}, fmt.Errorf("read ticket factory: %w", err)
	}
	return row.factory()
}

// TicketFactories returns up to limit factories, by name, after the one named.
func (q Queries) TicketFactories(after string, limit int) ([]TicketFactory, error) {
	rows, err := q.query("SELECT "+ticketFactoryColumns+" FROM ticket_factories WHERE name > $1 ORDER BY name LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list ticket factories: %w", err)
	}
	defer rows.Close()
	var factories []TicketFactory
	for rows.Next() {
		var row ticketFactoryRow
		if err := rows.Scan(row.dest()...); err != nil {
			return nil, fmt.Errorf("list ticket factories: %w", explain(err))
		}
		factory, err := row.factory()
		if err != nil {
			return nil, err
		}
		factories = append(factories, factory)
	}
	return factories, explain(rows.Err())
}

// UnusedTickets counts the factory's tickets that nobody used and somebody still
// could at that time.
func (q Queries) UnusedTickets(factory string, now time.Time) (int64, error) {
	return q.count("SELECT COUNT(*) FROM tickets WHERE factory = $1 AND uses = 0 AND (expires_at = 0 OR expires_at > $2)",
		factory, milliseconds(now))
}

// InsertTicketFactory adds a factory.
func (tx *Tx) InsertTicketFactory(f TicketFactory) error {
	err := tx.exec(`INSERT INTO ticket_factories (name, description, status, orchestrators, template, minted, version, created_at, updated_at, closed)
		VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $6, $7)`,
		f.Name, f.Description, f.Status, formatList(f.Orchestrators), f.Template, milliseconds(f.CreatedAt), f.Closed)
	if err != nil {
		return err
	}
	return tx.setFactoryNetworks(f)
}

// UpdateTicketFactory stores all that can be edited of f, which must exist.
func (tx *Tx) UpdateTicketFactory(f TicketFactory) error {
	err := tx.exec(`UPDATE ticket_factories SET description = $1, status = $2, orchestrators = $3, template = $4,
			version = version + 1, updated_at = $5,
			closed = $6, closed_because = CASE WHEN $6 THEN closed_because ELSE '' END WHERE name = $7`,
		f.Description, f.Status, formatList(f.Orchestrators), f.Template, milliseconds(f.UpdatedAt), f.Closed, f.Name)
	if err != nil {
		return err
	}
	return tx.setFactoryNetworks(f)
}

// CloseTicketFactories closes every factory that mints tickets, for that reason, and
// returns how many there were.
func (tx *Tx) CloseTicketFactories(because string, now time.Time) (int64, error) {
	return tx.change("UPDATE ticket_factories SET closed = TRUE, closed_because = $1, version = version + 1, updated_at = $2 WHERE NOT closed",
		because, milliseconds(now))
}

func (tx *Tx) setFactoryNetworks(f TicketFactory) error {
	if err := tx.exec("DELETE FROM factory_networks WHERE factory = $1", f.Name); err != nil {
		return err
	}
	for _, list := range f.Networks {
		if err := tx.exec("INSERT INTO factory_networks (factory, network_list) VALUES ($1, $2)", f.Name, list); err != nil {
			return err
		}
	}
	return nil
}

// CountMinted counts one ticket of the factory.
func (tx *Tx) CountMinted(name string) error {
	return tx.exec("UPDATE ticket_factories SET minted = minted + 1 WHERE name = $1", name)
}

// DeleteTicketFactory removes a factory; the tickets that it made stay.
func (tx *Tx) DeleteTicketFactory(name string) error {
	return tx.exec("DELETE FROM ticket_factories WHERE name = $1", name)
}

// ForgetUnusedTickets removes the tickets of factories that expired before then and
// enrolled nobody.
func (s *Store) ForgetUnusedTickets(ctx context.Context, before time.Time) error {
	return s.Write(ctx, func(tx *Tx) error {
		return tx.exec("DELETE FROM tickets WHERE factory <> '' AND uses = 0 AND expires_at > 0 AND expires_at < $1", milliseconds(before))
	})
}
