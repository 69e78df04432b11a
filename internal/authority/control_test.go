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
