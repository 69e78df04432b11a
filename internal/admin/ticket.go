package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// CreateTicket makes a ticket. The returned resource's Ticket is shown this once.
func (c *Client) CreateTicket(ctx context.Context, spec resource.TicketSpec) (resource.Ticket, error) {
	var created resource.Ticket
	err := c.do(ctx, http.MethodPost, resource.TicketsPath, map[string]any{"kind": resource.KindTicket, "spec": spec}, &created)
	return created, err
}

// Ticket returns the ticket of that public id.
func (c *Client) Ticket(ctx context.Context, name string) (resource.Ticket, error) {
	var ticket resource.Ticket
	err := c.do(ctx, http.MethodGet, resource.TicketsPath+"/"+url.PathEscape(name), nil, &ticket)
	return ticket, err
}

// Tickets returns all tickets, in no particular order.
func (c *Client) Tickets(ctx context.Context) ([]resource.Ticket, error) {
	return list[resource.Ticket](ctx, c, resource.TicketsPath)
}

// DeactivateTicket stops enrolments by a ticket and refuses the workloads that it
// enrolled from their next contact on.
func (c *Client) DeactivateTicket(ctx context.Context, name string) (resource.Ticket, error) {
	return c.changeTicket(ctx, name, map[string]string{"status": resource.StatusDeactivated})
}

// SetEnrolment opens a ticket to new enrolments (resource.EnrolmentOpen) or closes it.
func (c *Client) SetEnrolment(ctx context.Context, name, enrolment string) (resource.Ticket, error) {
	return c.changeTicket(ctx, name, map[string]string{"enrolment": enrolment})
}

// SetMinting lets a ticket factory mint tickets (resource.MintingOpen) or not.
func (c *Client) SetMinting(ctx context.Context, name, minting string) (resource.TicketFactory, error) {
	var factory resource.TicketFactory
	change := map[string]any{"spec": map[string]string{"minting": minting}}
	err := c.do(ctx, http.MethodPatch, resource.TicketFactoriesPath+"/"+url.PathEscape(name), change, &factory)
	return factory, err
}

// TicketFactories returns all ticket factories, in no particular order.
func (c *Client) TicketFactories(ctx context.Context) ([]resource.TicketFactory, error) {
	return list[resource.TicketFactory](ctx, c, resource.TicketFactoriesPath)
}

func (c *Client) changeTicket(ctx context.Context, name string, spec map[string]string) (resource.Ticket, error) {
	var ticket resource.Ticket
	change := map[string]any{"spec": spec}
	err := c.do(ctx, http.MethodPatch, resource.TicketsPath+"/"+url.PathEscape(name), change, &ticket)
	return ticket, err
}

// Workloads returns all workloads, in no particular order.
func (c *Client) Workloads(ctx context.Context) ([]resource.Workload, error) {
	return list[resource.Workload](ctx, c, resource.WorkloadsPath)
}

// Workload returns the workload of that id.
func (c *Client) Workload(ctx context.Context, name string) (resource.Workload, error) {
	var workload resource.Workload
	err := c.do(ctx, http.MethodGet, resource.WorkloadsPath+"/"+url.PathEscape(name), nil, &workload)
	return workload, err
}

// list reads every page of a listing.
func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	query := url.Values{"limit": {strconv.Itoa(resource.MaxPage)}}
	all := []T{}
	for {
		var page resource.Page[T]
		if err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || len(page.Items) == 0 {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}
