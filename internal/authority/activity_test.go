package authority

import (
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// TestActivityIsBounded: security.md 28; strangers cannot fill the disk.
func TestActivityIsBounded(t *testing.T) {
	f := start(t)
	const tries = 3 * refusalsBurst
	for range tries {
		f.send("POST", idTokenPath, "Bearer nonsense", nil).refused(t, 401)
	}
	if n := len(f.events()); n != refusalsBurst {
		t.Errorf("%d events, want %d", n, refusalsBurst)
	}
	if err := f.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	newest := f.events()[0]
	if newest.Kind != kindAggregate || newest.Count != tries-refusalsBurst {
		t.Errorf("newest %+v", newest)
	}
	for _, passes := range []time.Duration{markInterval, DefaultActivityRetention} {
		f.clock.Advance(passes)
		if err := f.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.events()); n != 0 {
		t.Errorf("%d events after their time", n)
	}
}

func TestWhatWasCountedSurvivesAStop(t *testing.T) {
	f := start(t)
	f.activity.missed.Store(7)
	f.restart()
	if newest := f.events()[0]; newest.Kind != kindAggregate || newest.Count != 7 {
		t.Errorf("newest %+v", newest)
	}
}

// TestNoTokenWithoutItsEvent: an event that cannot be written refuses its request,
// and undoes what was to be done with it; the caller is not told why.
func TestNoTokenWithoutItsEvent(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	inviting, _ := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{inviting.id}})
	f.rawExec("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
	bearer := "Bearer " + m.assertion()
	for what, got := range map[string]answer{
		"ID token":        f.send("POST", idTokenPath, bearer, nil),
		"enrolment":       f.newMember().register(ticket.Ticket),
		"invitation":      inviting.invite("ci"),
		"ticket creation": f.send("POST", resource.TicketsPath, "Bearer "+f.admin, `{"spec":{}}`),
		"ticket change":   f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"description":"x"}}`),
	} {
		if message := got.refused(t, 500); strings.Contains(message, "room") || strings.Contains(message, "sql") {
			t.Errorf("%s: message %q", what, message)
		}
	}
	if !strings.Contains(f.logs.String(), "no room") {
		t.Error("the log does not say why")
	}
	f.rawExec("DROP TRIGGER full")
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	var shown resource.Ticket
	f.send("GET", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	var factory resource.TicketFactory
	f.send("GET", resource.TicketFactoriesPath+"/ci", "Bearer "+f.admin, nil).decode(t, 200, &factory)
	if factory.Status.Minted != 0 {
		t.Errorf("factory %+v", factory)
	}
	if shown.Status.Uses != 1 || shown.Spec.Description != "" {
		t.Errorf("ticket %+v", shown)
	}
}
