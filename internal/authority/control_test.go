package authority

import (
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// TestControlsAtEveryContact: an authenticated workload's refusal is 403 and names
// the control.
func TestControlsAtEveryContact(t *testing.T) {
	f := start(t)
	later := startTime.Add(time.Hour)
	ticket := f.createTicket(resource.TicketSpec{ExpiresAt: &later, WorkloadTTL: "30m", Audiences: []string{"a", "b"}, MaxUses: 1})
	m := f.enrol(ticket.Ticket)
	forbidden := func(body any, control string) {
		t.Helper()
		message := m.idToken(body).refused(t, 403)
		if !strings.Contains(message, control) {
			t.Errorf("message %q does not name %s", message, control)
		}
		if newest := f.events()[0]; newest.Allowed || newest.WorkloadID != m.id || newest.TicketID != ticket.Name || !strings.HasPrefix(newest.Reason, control) {
			t.Errorf("activity %+v", newest)
		}
	}
	decodeToken(t, m.idToken(`{"audience":["a"]}`))
	decodeToken(t, m.idToken(`{"audience":["b","a"]}`))
	forbidden(`{"audience":["c"]}`, "audiences")
	forbidden(`{"audience":["a","c"]}`, "audiences")
	forbidden(nil, "audiences")
	f.setStatus(ticket, resource.StatusDeactivated)
	forbidden(`{"audience":["a"]}`, "status")
	f.setStatus(ticket, resource.StatusActive)
	decodeToken(t, m.idToken(`{"audience":["a"]}`))
	f.clock.Advance(30*time.Minute - time.Second)
	decodeToken(t, m.idToken(`{"audience":["a"]}`))
	f.clock.Advance(time.Second)
	forbidden(`{"audience":["a"]}`, "workload_ttl")
	f.clock.Advance(30 * time.Minute)
	forbidden(`{"audience":["a"]}`, "expires_at")
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"expires_at":null}}`).decode(t, 200, &resource.Ticket{})
	forbidden(`{"audience":["a"]}`, "workload_ttl")
}

func TestAReplayedAssertionLearnsNothingOfControls(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	bearer := "Bearer " + m.assertion()
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	f.setStatus(ticket, resource.StatusDeactivated)
	f.send("POST", idTokenPath, bearer, nil).refused(t, 401)
}

// TestEveryTokenTypeAtEveryEndpoint: security.md 14.
func TestEveryTokenTypeAtEveryEndpoint(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator})
	m := f.enrol(ticket.Ticket)
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}})
	f.createSecret("s", secretContent)
	idToken := tokenOf(t, m.idToken(nil))
	forBase := tokenOf(t, m.idToken(`{"audience":["`+f.OperatorBase()+`"]}`))
	tokens := map[string]func() string{
		"ID token":              func() string { return idToken },
		"ID token for the base": func() string { return forBase },
		"client assertion":      func() string { return m.assertion() },
		"registration proof":    func() string { return m.proof(ticket.Ticket) },
		"proof with all claims": func() string {
			return m.proof(ticket.Ticket, claims{"iss": m.id, "sub": m.id, "exp": startTime.Unix() + 60})
		},
		"ticket":    func() string { return ticket.Ticket },
		"ticket id": func() string { return ticket.Name },
		"admin":     func() string { return f.admin },
	}
	bearers := map[string]struct{ method, path, accepts string }{
		"id_token":        {"POST", idTokenPath, "client assertion"},
		"invite":          {"POST", invitePath, "client assertion"},
		"secret":          {"GET", "/operator/v1/secret/s", "client assertion"},
		"secret list":     {"GET", resource.SecretsPath, "admin"},
		"secret show":     {"GET", resource.SecretsPath + "/s", "admin"},
		"ticket list":     {"GET", resource.TicketsPath, "admin"},
		"ticket create":   {"POST", resource.TicketsPath, "admin"},
		"ticket show":     {"GET", resource.TicketsPath + "/" + ticket.Name, "admin"},
		"ticket change":   {"PATCH", resource.TicketsPath + "/" + ticket.Name, "admin"},
		"activity":        {"GET", resource.ActivityPath, "admin"},
		"activity export": {"GET", resource.ActivityPath + "?format=jsonl", "admin"},
		"chain":           {"GET", resource.ActivityVerifyPath, "admin"},
		"workload list":   {"GET", resource.WorkloadsPath, "admin"},
		"workload show":   {"GET", resource.WorkloadsPath + "/" + m.id, "admin"},
		"key list":        {"GET", resource.SigningKeysPath, "admin"},
	}
	for endpoint, e := range bearers {
		for kind, token := range tokens {
			body := `{}`
			switch {
			case e.method == "PATCH", e.path == resource.TicketsPath:
				body = `{"spec":{}}`
			case e.path == invitePath:
				body = `{"ticket_factory_id":"ci"}`
			}
			got := f.send(e.method, e.path, "Bearer "+token(), body)
			if accepted := got.status/100 == 2; accepted != (kind == e.accepts) || (!accepted && got.status != 401) {
				t.Errorf("%s with %s: %d %s", endpoint, kind, got.status, got.body)
			}
			if scheme := f.send(e.method, e.path, "Basic "+token(), `{}`); scheme.status != 401 {
				t.Errorf("%s with %s as Basic: %d", endpoint, kind, scheme.status)
			}
		}
	}
	for kind, token := range tokens {
		asTicket := m.registration(token())
		if got := f.send("POST", registerPath, "", asTicket); (got.status == 200) != (kind == "ticket") {
			t.Errorf("register with %s as the ticket: %d", kind, got.status)
		}
		asProof := m.registration(ticket.Ticket)
		asProof["proof"] = token()
		wanted := kind == "registration proof" || kind == "proof with all claims"
		if got := f.send("POST", registerPath, "", asProof); (got.status == 200) != wanted {
			t.Errorf("register with %s as the proof: %d", kind, got.status)
		}
	}
	// Whoever is let in at these is told what else is wrong.
	answers := map[string]struct {
		accepts string
		status  int
	}{
		keyPath:                              {"client assertion", 400},
		resource.SigningKeysPath + "/rotate": {"admin", 409},
		resource.SigningKeysPath + "/none/revoke": {"admin", 404},
	}
	for path, want := range answers {
		for kind, token := range tokens {
			status := 401
			if kind == want.accepts {
				status = want.status
			}
			if got := f.send("POST", path, "Bearer "+token(), `{}`); got.status != status {
				t.Errorf("%s with %s: %d %s", path, kind, got.status, got.body)
			}
		}
	}
	for _, token := range tokens {
		request := m.successor().keyRequest()
		request["proof"] = token()
		f.send("POST", keyPath, "Bearer "+m.assertion(), request).refused(t, 400)
	}
	// A bearer changes nothing at the endpoints that want none.
	if got := f.send("GET", jwksPath, "Bearer nonsense", nil); got.status != 200 {
		t.Errorf("JWKS: %d", got.status)
	}
}
