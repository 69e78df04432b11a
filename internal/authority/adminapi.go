package authority

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/jose"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const (
	maxAdminBytes = 64 << 10
	defaultPage   = 100
)

// createRequest is the body of POST /admin/v1/tickets.
type createRequest struct {
	Kind string              `json:"kind"`
	Spec resource.TicketSpec `json:"spec"`
}

// changeRequest is the body of PATCH /admin/v1/tickets/{name}.
type changeRequest struct {
	Kind string      `json:"kind"`
	Name string      `json:"name"`
	Spec ticketPatch `json:"spec"`
}

func (a *Authority) createTicket(r *http.Request, by store.AdminToken) (reply, error) {
	var request createRequest
	if err := readJSON(r, &request, maxAdminBytes, false); err != nil {
		return reply{}, err
	}
	if request.Kind != "" && request.Kind != resource.KindTicket {
		return reply{}, badRequest("kind is not %s", resource.KindTicket)
	}
	event := a.event(r, kindTicketCreate)
	ticket, err := ticketFromSpec(request.Spec, event.At)
	if err != nil {
		return reply{}, err
	}
	if ticket.ID, err = randomID(a.random, prefixTicket); err != nil {
		return reply{}, err
	}
	secret, err := randomSecret(a.random, secretTicket)
	if err != nil {
		return reply{}, err
	}
	event.Allowed, event.AdminID, event.TicketID = true, by.ID, ticket.ID
	err = a.store.Write(r.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.InsertTicket(ticket, jose.Digest([]byte(secret))), tx.AppendEvent(event))
	})
	if err != nil {
		return reply{}, err
	}
	created := ticketResource(ticket, event.At)
	created.Secret = secret
	return reply{
		status: http.StatusCreated,
		body:   created,
		header: map[string]string{"Location": a.config.URL + resource.TicketsPath + "/" + url.PathEscape(ticket.ID), "ETag": etag(ticket)},
	}, nil
}

func (a *Authority) showTicket(r *http.Request, _ store.AdminToken) (reply, error) {
	ticket, err := a.store.Read(r.Context()).Ticket(r.PathValue("name"))
	if err != nil {
		return reply{}, notFound(err, "no such ticket")
	}
	return a.ticketReply(ticket), nil
}

func (a *Authority) listTickets(r *http.Request, _ store.AdminToken) (reply, error) {
	after, limit, err := page(r)
	if err != nil {
		return reply{}, err
	}
	tickets, err := a.store.Read(r.Context()).Tickets(after, limit)
	if err != nil {
		return reply{}, err
	}
	answer := resource.Page[resource.Ticket]{Items: []resource.Ticket{}}
	now := a.now()
	for _, ticket := range tickets {
		answer.Items = append(answer.Items, ticketResource(ticket, now))
	}
	if len(tickets) == limit {
		answer.Next = tickets[limit-1].ID
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

// changeTicket changes description, status or expiry. With If-Match it does so
// only if nobody else has changed the ticket since.
func (a *Authority) changeTicket(r *http.Request, by store.AdminToken) (reply, error) {
	name := r.PathValue("name")
	var request changeRequest
	if err := readJSON(r, &request, maxAdminBytes, false); err != nil {
		return reply{}, err
	}
	if (request.Kind != "" && request.Kind != resource.KindTicket) || (request.Name != "" && request.Name != name) {
		return reply{}, badRequest("kind or name is that of something else")
	}
	event := a.event(r, kindTicketChange)
	event.Allowed, event.AdminID, event.TicketID = true, by.ID, name
	expected := r.Header.Get("If-Match")
	var changed store.Ticket
	err := a.store.Write(r.Context(), func(tx *store.Tx) error {
		ticket, err := tx.Ticket(name)
		if err != nil {
			return notFound(err, "no such ticket")
		}
		if expected != "" && expected != "*" && expected != etag(ticket) {
			return &refusal{status: http.StatusPreconditionFailed, message: "the ticket was changed meanwhile; read it again"}
		}
		if err := request.Spec.apply(&ticket, event.At); err != nil {
			return err
		}
		if _, err := tx.UpdateTicket(ticket, event.At); err != nil {
			return err
		}
		if changed, err = tx.Ticket(name); err != nil {
			return err
		}
		event.Reason = "status " + ticket.Status
		return tx.AppendEvent(event)
	})
	if err != nil {
		return reply{}, err
	}
	return a.ticketReply(changed), nil
}

func (a *Authority) ticketReply(ticket store.Ticket) reply {
	return reply{status: http.StatusOK, body: ticketResource(ticket, a.now()), header: map[string]string{"ETag": etag(ticket)}}
}

func (a *Authority) showWorkload(r *http.Request, _ store.AdminToken) (reply, error) {
	workload, err := a.store.Read(r.Context()).Workload(r.PathValue("name"))
	if err != nil {
		return reply{}, notFound(err, "no such workload")
	}
	return reply{status: http.StatusOK, body: a.workloadResource(workload)}, nil
}

func (a *Authority) listWorkloads(r *http.Request, _ store.AdminToken) (reply, error) {
	after, limit, err := page(r)
	if err != nil {
		return reply{}, err
	}
	workloads, err := a.store.Read(r.Context()).Workloads(after, limit)
	if err != nil {
		return reply{}, err
	}
	answer := resource.Page[resource.Workload]{Items: []resource.Workload{}}
	for _, workload := range workloads {
		answer.Items = append(answer.Items, a.workloadResource(workload))
	}
	if len(workloads) == limit {
		answer.Next = workloads[limit-1].Workload.ID
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

func (a *Authority) workloadResource(e store.Enrolled) resource.Workload {
	status := resource.WorkloadStatus{
		Ticket:        e.Ticket.ID,
		Role:          e.Ticket.Role,
		Tags:          append([]string{}, e.Ticket.Tags...),
		KeyThumbprint: e.Workload.Thumbprint,
		Claimed:       e.Workload.Claimed,
		EnrolledAt:    e.Workload.CreatedAt,
		LastContactAt: e.Workload.LastContactAt,
	}
	if v := checkEnrolled(e, a.now()); v != nil {
		status.RefusedBy = v.control
	}
	return resource.Workload{Kind: resource.KindWorkload, Name: e.Workload.ID, Status: status}
}

// page reads the query parameters of a listing.
func page(r *http.Request) (after string, limit int, err error) {
	limit = defaultPage
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", 0, badRequest("the query cannot be parsed")
	}
	for name, values := range query {
		switch {
		case len(values) != 1:
			return "", 0, badRequest("a query parameter occurs twice")
		case name == "after":
			after = values[0]
		case name == "limit":
			limit, err = strconv.Atoi(values[0])
			if err != nil || limit < 1 || limit > resource.MaxPage {
				return "", 0, badRequest("limit is not between 1 and %d", resource.MaxPage)
			}
		default:
			return "", 0, badRequest("the query has an unknown parameter; known are after and limit")
		}
	}
	return after, limit, nil
}

func notFound(err error, message string) error {
	if errors.Is(err, store.ErrNotFound) {
		return &refusal{status: http.StatusNotFound, message: message}
	}
	return err
}

func etag(t store.Ticket) string {
	return `"` + strconv.FormatInt(t.Version, 10) + `"`
}
