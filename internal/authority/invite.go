package authority

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// Limits of invitations.
const (
	maxInviteBytes = 4 << 10
	// maxUnusedTickets is how many tickets of one factory may wait for their first
	// use: an orchestrator in a loop must not fill the disk.
	maxUnusedTickets = 10_000
	// unusedTicketRetention is how long a factory's ticket that expired without a use
	// can still be looked at.
	unusedTicketRetention = 24 * time.Hour
)

// inviteRequest is the body of POST /operator/v1/invite.
type inviteRequest struct {
	Factory string `json:"ticket_factory_id"`
}

// inviteResponse holds the secret that --invite-code takes.
type inviteResponse struct {
	Ticket string `json:"ticket_id"`
}

// invite mints a ticket for an orchestrator.
func (a *Authority) invite(r *http.Request, who caller) (reply, error) {
	var request inviteRequest
	if err := readJSON(r, &request, maxInviteBytes, false); err != nil {
		return reply{}, err
	}
	if !chosenName.MatchString(request.Factory) && !hasForm(request.Factory, prefixFactory, idLength) {
		return reply{}, badRequest(`member "ticket_factory_id" is missing, or no name of a ticket factory`)
	}
	event := a.event(r, kindInvite)
	markFactory(&event, request.Factory)
	var answer inviteResponse
	err := a.decide(r, who, event, func(tx *store.Tx, now store.Enrolled, event *store.Event) (refused *refusal, err error) {
		if role := now.Ticket.Role; role != resource.RoleOrchestrator {
			return refusedBy(&violation{controlRole, "it is " + role + ", and only an orchestrator makes tickets"}, event), nil
		}
		answer.Ticket, refused, err = a.mint(tx, now, request.Factory, event)
		return refused, err
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

// mint makes a ticket as the factory says now, or refuses to and says why in the
// event. Who may not use a factory is told no more than that there is none.
func (a *Authority) mint(tx *store.Tx, who store.Enrolled, name string, event *store.Event) (secret string, refused *refusal, err error) {
	factory, err := tx.TicketFactory(name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		event.Reason = "no such ticket factory"
		return "", noSuchFactory(), nil
	case err != nil:
		return "", nil, err
	case !slices.Contains(factory.Orchestrators, who.Workload.ID) && !slices.Contains(factory.Orchestrators, who.Ticket.ID):
		event.Reason = "orchestrators: the ticket factory names neither the workload nor its ticket"
		return "", noSuchFactory(), nil
	case factory.Status != store.TicketActive:
		event.Reason = "status: the ticket factory was " + factory.Status
		return "", refusedByFactory(event.Reason), nil
	case factory.Closed:
		event.Reason = "minting: the ticket factory is closed"
		if factory.ClosedBecause != "" {
			event.Reason += ": " + factory.ClosedBecause
		}
		return "", refusedByFactory(event.Reason), nil
	}
	unused, err := tx.UnusedTickets(name, event.At)
	if err != nil {
		return "", nil, err
	}
	if unused >= maxUnusedTickets {
		event.Reason = "unused: too many tickets of the factory wait for their first use"
		return "", refusedByFactory(event.Reason), nil
	}
	id, secret, err := a.mintTicket(tx, factory, event.At)
	event.Reason = "made ticket " + id
	return secret, nil, err
}

func (a *Authority) mintTicket(tx *store.Tx, factory store.TicketFactory, now time.Time) (id, secret string, err error) {
	template, err := templateOf(factory)
	if err != nil {
		return "", "", err
	}
	if id, err = randomID(a.random, prefixTicket); err != nil {
		return "", "", err
	}
	if secret, err = randomSecret(a.random, secretTicket); err != nil {
		return "", "", err
	}
	ticket := ticketOf(id, specOfTemplate(template, now), now)
	ticket.Factory = factory.Name
	return id, secret, errors.Join(tx.InsertTicket(ticket, jose.Digest([]byte(secret))), tx.CountMinted(factory.Name))
}

func noSuchFactory() *refusal {
	return &refusal{status: http.StatusNotFound, message: "no such ticket factory"}
}

func refusedByFactory(reason string) *refusal {
	return &refusal{status: http.StatusForbidden, message: "refused by the ticket factory's " + reason}
}
