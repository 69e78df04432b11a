package authority

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// TestInvite: what an orchestrator makes is a ticket like any other, as the template
// says, and the secret enrols.
func TestInvite(t *testing.T) {
	f := start(t)
	m, own := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{own.Name}, Ticket: resource.TicketTemplate{
		Description: "a build machine", Role: "agent", ExpiresIn: "1h", WorkloadTTL: "2h", MaxUses: 1,
		Tags: []string{"ci"}, Audiences: []string{"https://ledger.internal"}, Networks: []string{"public-access"},
	}})
	secret := m.mint("ci")
	if !hasForm(secret, secretTicket, secretLength) {
		t.Fatalf("got %q", secret)
	}
	e := f.events()[0]
	name, found := strings.CutPrefix(e.Reason, "made ticket ")
	if want := (store.Event{Sequence: e.Sequence, At: startTime, Kind: kindInvite, Allowed: true, Reason: e.Reason, Source: "127.0.0.1",
		TicketID: own.Name, WorkloadID: m.id, Resource: "TicketFactory/ci", Count: 1, Digest: e.Digest, Class: store.Enrolment}); !found || !reflect.DeepEqual(e, want) {
		t.Errorf("activity %+v", e)
	}
	var shown resource.Ticket
	f.send("GET", resource.TicketsPath+"/"+name, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	expires := startTime.Add(time.Hour)
	want := resource.Ticket{Kind: "Ticket", Name: name, Spec: resource.TicketSpec{
		Description: "a build machine", Status: "active", Enrolment: "open", Role: "agent", ExpiresAt: &expires, MaxUses: 1, WorkloadTTL: "2h0m0s",
		Tags: []string{"ci"}, Audiences: []string{"https://ledger.internal"}, Networks: []string{"public-access"},
	}, Status: resource.TicketStatus{State: "active", Factory: "ci", CreatedAt: startTime, UpdatedAt: startTime}}
	if !reflect.DeepEqual(shown, want) {
		t.Errorf("ticket %+v, want %+v", shown, want)
	}
	enrolled := f.enrol(secret)
	decodeToken(t, enrolled.idToken(`{"audience":["https://ledger.internal"]}`))
	enrolled.idToken(`{"audience":["https://other.internal"]}`).refused(t, 403)
	f.newMember().register(secret).refused(t, 401)
	enrolled.invite("ci").refused(t, 403)
	var factory resource.TicketFactory
	f.send("GET", resource.TicketFactoriesPath+"/ci", "Bearer "+f.admin, nil).decode(t, 200, &factory)
	if factory.Status.Minted != 1 {
		t.Errorf("minted %d", factory.Status.Minted)
	}
	// The template of now makes the next one.
	f.send("PATCH", resource.TicketFactoriesPath+"/ci", "Bearer "+f.admin, `{"spec":{"ticket":{"expires_in":null}}}`).decode(t, 200, &factory)
	f.send("GET", resource.TicketsPath+"/"+name, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	next := m.mint("ci")
	f.clock.Advance(time.Hour)
	f.enrol(next)
	enrolled.idToken(`{"audience":["https://ledger.internal"]}`).refused(t, 403)
}

// TestWhoMayInvite: only an orchestrator that the factory names, under all controls
// of its own ticket; who is not named is told no more than of a factory not there.
func TestWhoMayInvite(t *testing.T) {
	f := start(t)
	byTicket, ticket := f.orchestrator()
	byID, _ := f.orchestrator()
	stranger, _ := f.orchestrator()
	plain := f.createTicket(resource.TicketSpec{})
	workload := f.enrol(plain.Ticket)
	agents := f.createTicket(resource.TicketSpec{Role: resource.RoleAgent})
	agent := f.enrol(agents.Ticket)
	spec := resource.TicketFactorySpec{Orchestrators: []string{ticket.Name, byID.id, plain.Name, workload.id, agents.Name}}
	f.declareFactory("ci", spec)
	f.declareFactory("nobodys", resource.TicketFactorySpec{})

	last := func(m *member, reason string) {
		t.Helper()
		e := f.events()[0]
		if e.Kind != kindInvite || e.Allowed || e.WorkloadID != m.id || !strings.HasPrefix(e.Resource, "TicketFactory/") || !strings.HasPrefix(e.Reason, reason) {
			t.Errorf("activity %+v, want reason %s", e, reason)
		}
	}
	byTicket.mint("ci")
	byID.mint("ci")
	f.enrol(ticket.Ticket).mint("ci") // another one of the same ticket
	for _, m := range []*member{workload, agent} {
		if message := m.invite("ci").refused(t, 403); !strings.Contains(message, "control role") {
			t.Errorf("told %q", message)
		}
		last(m, "role")
	}
	missing := stranger.invite("elsewhere")
	missing.refused(t, 404)
	last(stranger, "no such ticket factory")
	for name, m := range map[string]*member{"ci": stranger, "nobodys": byTicket} {
		if got := m.invite(name); got.same() != missing.same() {
			t.Errorf("%s: %s, of one not there %s", name, got.same(), missing.same())
		}
		last(m, "orchestrators")
	}

	spec.Status = resource.StatusDeactivated
	f.declareFactory("ci", spec)
	if message := byTicket.invite("ci").refused(t, 403); !strings.Contains(message, "status") {
		t.Errorf("told %q", message)
	}
	last(byTicket, "status")
	spec.Status = resource.StatusActive
	f.declareFactory("ci", spec)
	byTicket.mint("ci")
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"role":"workload"}}`).decode(t, 200, &resource.Ticket{})
	byTicket.invite("ci").refused(t, 403)
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"role":"orchestrator","workload_ttl":"1h"}}`).decode(t, 200, &resource.Ticket{})
	byTicket.mint("ci")
	f.clock.Advance(time.Hour)
	if message := byTicket.invite("ci").refused(t, 403); !strings.Contains(message, controlWorkloadTTL) {
		t.Errorf("told %q", message)
	}
}

func TestInviteForm(t *testing.T) {
	f := start(t)
	m, ticket := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}})
	for name, body := range map[string]any{
		"nothing":        `{}`,
		"empty":          `{"ticket_factory_id":""}`,
		"a number":       `{"ticket_factory_id":1}`,
		"a list":         `{"ticket_factory_id":["ci"]}`,
		"no name":        `{"ticket_factory_id":"../ci"}`,
		"escapes":        `{"ticket_factory_id":"\u001b[31m"}`,
		"too long":       `{"ticket_factory_id":"` + strings.Repeat("a", 64) + `"}`,
		"unknown member": `{"ticket_factory_id":"ci","role":"orchestrator"}`,
		"twice":          `{"ticket_factory_id":"ci","ticket_factory_id":"ci"}`,
		"no object":      `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			f.send("POST", invitePath, "Bearer "+m.assertion(), body).refused(t, 400)
		})
	}
	f.send("POST", invitePath, "Bearer "+m.assertion(), strings.Repeat(" ", maxInviteBytes+1)).refused(t, 413)
	f.send("POST", invitePath, "Bearer "+m.assertion(), nil).refused(t, 415)
	f.send("GET", invitePath, "Bearer "+m.assertion(), nil).refused(t, 405)
	f.send("POST", invitePath, "", inviteRequest{"ci"}).refused(t, 401)
	bearer := "Bearer " + m.assertion()
	var got inviteResponse
	f.send("POST", invitePath, bearer, inviteRequest{"ci"}).decode(t, 200, &got)
	f.secrets = append(f.secrets, got.Ticket)
	f.send("POST", invitePath, bearer, inviteRequest{"ci"}).refused(t, 401)
	var all resource.Page[resource.Ticket]
	f.send("GET", resource.TicketsPath, "Bearer "+f.admin, nil).decode(t, 200, &all)
	if len(all.Items) != 2 {
		t.Errorf("%d tickets; the replayed request must make none", len(all.Items))
	}
}

func TestUnusedTicketsAreBounded(t *testing.T) {
	f := start(t)
	m, own := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{own.Name}})
	err := f.store.Write(t.Context(), func(tx *store.Tx) error {
		for i := range maxUnusedTickets - 1 {
			ticket := store.Ticket{ID: fmt.Sprint("tk1:", i), Role: "workload", Status: store.TicketActive, Factory: "ci", CreatedAt: startTime}
			if err := tx.InsertTicket(ticket, fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	secret := m.mint("ci")
	m.invite("ci").refused(t, 403)
	if e := f.events()[0]; e.Allowed || !strings.HasPrefix(e.Reason, "unused") {
		t.Errorf("activity %+v", e)
	}
	f.enrol(secret)
	m.mint("ci")
}
