package authority

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func TestEnrolment(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.newMember()
	var got registerResponse
	m.register(ticket.Ticket).decode(t, 200, &got)
	if !hasForm(got.WorkloadID, "pr1:", 24) || !hasForm(got.OperatorID, "op1:", 24) || got.OperatorID != f.OperatorID() {
		t.Errorf("got %+v", got)
	}
	var again registerResponse
	m.register(ticket.Ticket).decode(t, 200, &again)
	if again != got {
		t.Errorf("repeated: %+v, first %+v", again, got)
	}
	other := f.enrol(ticket.Ticket)
	if other.id == got.WorkloadID {
		t.Error("two keys got one workload id")
	}
	var shown resource.Ticket
	f.send("GET", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	if shown.Status.Uses != 2 || shown.Ticket != "" {
		t.Errorf("ticket %+v", shown)
	}
}

func TestRegistrationForm(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.newMember()
	long := strings.Repeat("x", 10000)
	many := map[string]string{}
	for i := range maxClaimed + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	tests := map[string]struct {
		change map[string]any
		says   string
	}{
		"ticket missing":        {map[string]any{"ticket": nil}, `"ticket" is missing`},
		"ticket empty":          {map[string]any{"ticket": ""}, `"ticket" is missing`},
		"ticket a number":       {map[string]any{"ticket": 7}, `"ticket"`},
		"ticket a list":         {map[string]any{"ticket": []string{ticket.Ticket}}, `"ticket"`},
		"ticket too long":       {map[string]any{"ticket": long}, `"ticket" is longer`},
		"jwk missing":           {map[string]any{"jwk": nil}, `"jwk"`},
		"jwk a string":          {map[string]any{"jwk": "x"}, `"jwk"`},
		"jwk symmetric":         {map[string]any{"jwk": map[string]string{"kty": "oct", "k": "AAAA"}}, `"jwk"`},
		"jwk private":           {map[string]any{"jwk": json.RawMessage(strings.Replace(m.public.JWK(), `{`, `{"d":"AAAA",`, 1))}, `"jwk"`},
		"proof missing":         {map[string]any{"proof": nil}, `"proof" is missing`},
		"proof an object":       {map[string]any{"proof": map[string]string{}}, `"proof"`},
		"proof too long":        {map[string]any{"proof": long}, `"proof" is longer`},
		"environment a string":  {map[string]any{"environment": "x"}, `"environment"`},
		"environment nested":    {map[string]any{"environment": map[string]any{"a": map[string]any{}}}, `"environment"`},
		"environment too many":  {map[string]any{"environment": many}, `"environment"`},
		"environment too long":  {map[string]any{"environment": map[string]string{"a": long}}, `"environment"`},
		"environment name long": {map[string]any{"environment": map[string]string{long: "a"}}, `"environment"`},
		"environment escapes":   {map[string]any{"environment": map[string]string{"a": "\x1b[31m"}}, `"environment"`},
		"unknown member":        {map[string]any{"nonsense": 1}, `"nonsense"`},
		"other case":            {map[string]any{"Ticket": "x"}, `"Ticket"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := m.registration(ticket.Ticket)
			for member, value := range tt.change {
				if body[member] = value; value == nil {
					delete(body, member)
				}
			}
			message := f.send("POST", registerPath, "", body).refused(t, 400)
			if !strings.Contains(message, tt.says) || strings.Contains(message, ticket.Ticket) {
				t.Errorf("message %q, want %q", message, tt.says)
			}
		})
	}
	f.send("POST", registerPath, "", "{").refused(t, 400)
	f.send("POST", registerPath, "", `{"ticket":"a","ticket":"b"}`).refused(t, 400)
	f.send("POST", registerPath, "", strings.Repeat(" ", maxRegisterBytes+1)).refused(t, 413)
	f.send("POST", registerPath, "", nil).refused(t, 415)
	f.send("GET", registerPath, "", nil).refused(t, 405)
	f.send("POST", registerPath+"/", "", nil).refused(t, 404)
	if n := len(f.events()); n != 1 {
		t.Errorf("%d events; only the ticket's creation is a decision", n)
	}
}

// TestRefusedEnrolmentsAreAlike: security.md 16. The answer to a proof that is wrong is
// in TestForgeriesAtEveryEndpoint.
func TestRefusedEnrolmentsAreAlike(t *testing.T) {
	f := start(t)
	soon := startTime.Add(time.Hour)
	good := f.createTicket(resource.TicketSpec{})
	expired := f.createTicket(resource.TicketSpec{ExpiresAt: &soon})
	usedUp := f.createTicket(resource.TicketSpec{MaxUses: 1})
	f.enrol(usedUp.Ticket)
	deactivated := f.createTicket(resource.TicketSpec{})
	f.setStatus(deactivated, resource.StatusDeactivated)
	f.declareNetworks("elsewhere", "192.0.2.0/24")
	outside := f.createTicket(resource.TicketSpec{Networks: []string{"elsewhere"}})
	outlived := f.createTicket(resource.TicketSpec{WorkloadTTL: "1h"})
	old := f.enrol(outlived.Ticket)
	f.clock.Advance(time.Hour)

	m := f.newMember()
	replayed := m.registration(good.Ticket)
	tests := []struct {
		name   string
		body   map[string]any
		reason string
	}{
		{"unknown ticket", m.registration("lyt_" + strings.Repeat("0", secretLength)), "no such ticket"},
		{"no ticket at all", m.registration("nonsense"), "no such ticket"},
		{"public id", m.registration(good.Name), "no such ticket"},
		{"ticket with a space", m.registration(good.Ticket + " "), "no such ticket"},
		{"administrator's token", m.registration(f.admin), "no such ticket"},
		{"expired", m.registration(expired.Ticket), "expires_at"},
		{"used up", m.registration(usedUp.Ticket), "max_uses"},
		{"deactivated", m.registration(deactivated.Ticket), "status"},
		{"outside its networks", m.registration(outside.Ticket), "networks"},
		{"workload ttl over", old.registration(outlived.Ticket), "workload_ttl"},
	}
	replayed["proof"] = m.proof(expired.Ticket)
	replayed["ticket"] = expired.Ticket
	f.send("POST", registerPath, "", replayed).refused(t, 401)
	tests = append(tests, struct {
		name   string
		body   map[string]any
		reason string
	}{"replayed", replayed, "used before"})

	var first answer
	for i, tt := range tests {
		got := f.send("POST", registerPath, "", tt.body)
		if i == 0 {
			first = got
			first.refused(t, 401)
		}
		if got.same() != first.same() {
			t.Errorf("%s: answer\n%s\nbut the first was\n%s", tt.name, got.same(), first.same())
		}
		newest := f.events()[0]
		if newest.Kind != kindEnrol || newest.Allowed || !strings.Contains(newest.Reason, tt.reason) {
			t.Errorf("%s: activity %+v, want a refusal for %q", tt.name, newest, tt.reason)
		}
	}
	var workloads resource.Page[resource.Workload]
	f.send("GET", resource.WorkloadsPath, "Bearer "+f.admin, nil).decode(t, 200, &workloads)
	if len(workloads.Items) != 2 {
		t.Errorf("%d workloads; only the two that were let in should be there", len(workloads.Items))
	}
	m.register(good.Ticket).decode(t, 200, &registerResponse{})
}

func TestAnAcceptedProofIsNotAcceptedAgain(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.newMember()
	body := m.registration(ticket.Ticket)
	f.send("POST", registerPath, "", body).decode(t, 200, &registerResponse{})
	f.send("POST", registerPath, "", body).refused(t, 401)
	f.restart()
	f.send("POST", registerPath, "", body).refused(t, 401)
}

// TestControlsHoldForRepeatedEnrolment: a repetition counts no use, but every
// other control is evaluated again.
func TestControlsHoldForRepeatedEnrolment(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{MaxUses: 1, WorkloadTTL: "1h"})
	m := f.enrol(ticket.Ticket)
	var again registerResponse
	m.register(ticket.Ticket).decode(t, 200, &again)
	if again.WorkloadID != m.id {
		t.Errorf("got %s, was %s", again.WorkloadID, m.id)
	}
	f.setStatus(ticket, resource.StatusDeactivated)
	m.register(ticket.Ticket).refused(t, 401)
	f.setStatus(ticket, resource.StatusActive)
	m.register(ticket.Ticket).decode(t, 200, &again)
	f.clock.Advance(time.Hour)
	m.register(ticket.Ticket).refused(t, 401)
}

func TestClaimsOfTheClientStayClaims(t *testing.T) {
	f := start(t)
	m := f.newMember()
	body := m.registration(f.createTicket(resource.TicketSpec{}).Ticket)
	body["environment"] = map[string]string{"aws": "i-0e81f288c6bb1b46d"}
	var got registerResponse
	f.send("POST", registerPath, "", body).decode(t, 200, &got)
	m.id = got.WorkloadID
	extra := decodeToken(t, m.idToken(nil))["extra"].(map[string]any)
	if len(extra["ids"].(map[string]any)) != 0 || extra["claimed"].(map[string]any)["aws"] != "i-0e81f288c6bb1b46d" {
		t.Errorf("extra is %v", extra)
	}
}
