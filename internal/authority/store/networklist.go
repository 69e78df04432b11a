package store

import (
	"database/sql"
	"fmt"
	"time"
)

// NetworkList is a named list of source networks.
type NetworkList struct {
	Name        string
	Description string
	CIDRs       []string
	Version     int64 // changes with every edit
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

const networkListColumns = `network_lists.name, network_lists.description, network_lists.cidrs,
	network_lists.version, network_lists.created_at, network_lists.updated_at`

type networkListRow struct {
	NetworkList
	cidrs                string
	createdAt, updatedAt int64
}

func (r *networkListRow) dest() []any {
	return []any{&r.Name, &r.Description, &r.cidrs, &r.Version, &r.createdAt, &r.updatedAt}
}

func (r *networkListRow) list() (NetworkList, error) {
	var err error
	r.CIDRs, err = parseList(r.cidrs)
	r.CreatedAt, r.UpdatedAt = fromMilliseconds(r.createdAt), fromMilliseconds(r.updatedAt)
	return r.NetworkList, err
}

// NetworkList returns the list of that name, or ErrNotFound.
func (q Queries) NetworkList(name string) (NetworkList, error) {
	var row networkListRow
	if err := q.row(row.dest(), "SELECT "+networkListColumns+" FROM network_lists WHERE name = $1", name); err != nil {
		return NetworkList{}, fmt.Errorf("read network list: %w", err)
	}
	return row.list()
}

// NetworkLists returns up to limit lists, by name, after the one named.
func (q Queries) NetworkLists(after string, limit int) ([]NetworkList, error) {
	return scanNetworkLists(q.query("SELECT "+networkListColumns+" FROM network_lists WHERE name > $1 ORDER BY name LIMIT $2", after, limit))
}

// NetworksOfTicket returns the lists that the ticket names, by name.
func (q Queries) NetworksOfTicket(ticketID string) ([]NetworkList, error) {
	return scanNetworkLists(q.query("SELECT "+networkListColumns+` FROM network_lists
		JOIN ticket_networks ON ticket_networks.network_list = network_lists.name
		WHERE ticket_networks.ticket_id = $1 ORDER BY network_lists.name`, ticketID))
}

func scanNetworkLists(rows *sql.Rows, err error) ([]NetworkList, error) {
	if err != nil {
		return nil, fmt.Errorf("list network lists: %w", err)
	}
	defer rows.Close()
	var lists []NetworkList
	for rows.Next() {
		var row networkListRow
		if err := rows.Scan(row.dest()...); err != nil {
			return nil, fmt.Errorf("list network lists: %w", explain(err))
		}
		list, err := row.list()
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, explain(rows.Err())
}

// InsertNetworkList adds a list.
func (tx *Tx) InsertNetworkList(l NetworkList) error {
	return tx.exec(`INSERT INTO network_lists (name, description, cidrs, version, created_at, updated_at)
		VALUES ($1, $2, $3, 1, $4, $4)`,
		l.Name, l.Description, formatList(l.CIDRs), milliseconds(l.CreatedAt))
}

// UpdateNetworkList stores all that can be edited of l, which must exist.
func (tx *Tx) UpdateNetworkList(l NetworkList) error {
	return tx.exec("UPDATE network_lists SET description = $1, cidrs = $2, version = version + 1, updated_at = $3 WHERE name = $4",
		l.Description, formatList(l.CIDRs), milliseconds(l.UpdatedAt), l.Name)
}

// DeleteNetworkList removes a list, or returns ErrInUse where something names it.
func (tx *Tx) DeleteNetworkList(name string) error {
	return tx.exec("DELETE FROM network_lists WHERE name = $1", name)
}

// setTicketNetworks makes the references of a ticket to lists what its row says.
func (tx *Tx) setTicketNetworks(ticketID string, lists []string) error {
	if err := tx.exec("DELETE FROM ticket_networks WHERE ticket_id = $1", ticketID); err != nil {
		return err
	}
	for _, list := range lists {
		if err := tx.exec("INSERT INTO ticket_networks (ticket_id, network_list) VALUES ($1, $2)", ticketID, list); err != nil {
			return err
		}
	}
	return nil
}
