package authority

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

func (f *fixture) mustTidy() {
	f.t.Helper()
	if err := f.tidy(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// count is how many events there are of a kind.
func (f *fixture) count(kind string) int {
	f.t.Helper()
	n := 0
	for _, e := range f.allEvents() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (f *fixture) wantIntact() {
	f.t.Helper()
	var chain resource.ActivityChain
	f.send("GET", resource.ActivityVerifyPath, "Bearer "+f.admin, nil).decode(f.t, 200, &chain)
	if !chain.Intact {
		f.t.Errorf("%+v", chain)
	}
}

func (f *fixture) wantMetric(line string) {
	f.t.Helper()
	if got := f.send("GET", "/metrics", "", nil).body; !strings.Contains(got, line+"\n") {
		f.t.Errorf("metrics lack %q", line)
	}
}

// TestTrafficEvictsNothingElse: security.md 36; and what goes before its time is told, in
// the activity, the log and the metrics.
func TestTrafficEvictsNothingElse(t *testing.T) {
	f := start(t, func(c *Config) { c.MaxEvents = minMaxEvents })
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	const tokens = minMaxEvents + 60
	for range tokens {
		m.idToken(nil).decode(t, 200, &idTokenResponse{})
	}
	for range 30 {
		f.send("POST", idTokenPath, "Bearer nonsense", nil).refused(t, 401)
	}
	f.mustTidy()
	for kind, want := range map[string]int{"ticket.create": 1, kindEnrol: 1, "signing_key.create": 2, kindDropped: 2} {
		if got := f.count(kind); got != want {
			t.Errorf("%d events of kind %s, want %d", got, kind, want)
		}
	}
	if got := f.count(kindIDToken); got != minMaxEvents+minMaxEvents/10 {
		t.Errorf("%d events of tokens and of strangers", got)
	}
	var told []string
	for _, e := range f.allEvents() {
		if e.Kind == kindDropped {
			told = append(told, fmt.Sprint(e.Resource, " ", e.Count))
		}
	}
	if got := fmt.Sprint(told); got != "[Activity/unauthenticated 20 Activity/traffic 60]" {
		t.Errorf("told %s", got)
	}
	if !strings.Contains(f.logs.String(), "activity was dropped before its time") {
		t.Error("the log does not say so")
	}
	f.wantMetric(`lanyard_authority_activity_dropped_total{class="traffic"} 60`)
	f.wantIntact()
	// Told at once the first time, and then every hour: a restart loses no count.
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	f.mustTidy()
	if got := f.count(kindDropped); got != 2 {
		t.Errorf("told %d times", got)
	}
	f.clock.Advance(droppedInterval)
	f.restart()
	f.mustTidy()
	if e := f.newest(); e.Kind != kindDropped || e.Count != 1 {
		t.Errorf("activity %+v", e)
	}
	f.wantIntact()
}

// TestOneWorkloadIsCountedTogether beyond its rate, stopped or not, and nothing that it is
// given is without a record.
func TestOneWorkloadIsCountedTogether(t *testing.T) {
	f := start(t)
	f.activity.recorded = newLimiter[string](1e-9, 5)
	ticket := f.createTicket(resource.TicketSpec{})
	m, other := f.enrol(ticket.Ticket), f.enrol(ticket.Ticket)
	for range 12 {
		m.idToken(nil).decode(t, 200, &idTokenResponse{})
	}
	if got := f.count(kindIDToken); got != 5 {
		t.Errorf("%d events", got)
	}
	f.send("PATCH", resource.WorkloadsPath+"/"+m.id, "Bearer "+f.admin, `{"spec":{"status":"deactivated"}}`).decode(t, 200, &resource.Workload{})
	for range 20 {
		m.idToken(nil).refused(t, 403)
	}
	other.idToken(nil).decode(t, 200, &idTokenResponse{})
	if got := f.count(kindIDToken); got != 6 {
		t.Errorf("%d events", got)
	}
	f.wantMetric("lanyard_authority_activity_counted_total 27")
	f.stop()
	f.serve(strings.TrimPrefix(f.base, "http://")) // what was counted is an event by now
	var got []string
	for _, e := range f.allEvents()[:2] {
		if e.WorkloadID != m.id || e.TicketID != ticket.Name || e.Class != store.Traffic {
			t.Errorf("activity %+v", e)
		}
		got = append(got, fmt.Sprint(e.Kind, " ", e.Allowed, " ", e.Count, " ", e.Reason))
	}
	want := "[id_token true 7 too many to record one by one id_token false 20 too many to record one by one; the last one: workload_status: the workload was deactivated]"
	if fmt.Sprint(got) != want {
		t.Errorf("activity\n%s, want\n%s", got, want)
	}
	f.wantIntact()
}

// TestAnEnrolmentHasAnEventOfItsOwn, however many there were by its ticket.
func TestAnEnrolmentHasAnEventOfItsOwn(t *testing.T) {
	f := start(t)
	f.activity.changed = newLimiter[string](1e-9, 3)
	ticket := f.createTicket(resource.TicketSpec{})
	for range 5 {
		f.enrol(ticket.Ticket)
	}
	classes := map[store.Class]int{}
	for _, e := range f.allEvents() {
		if e.Kind == kindEnrol {
			classes[e.Class]++
		}
	}
	if classes[store.Enrolment] != 3 || classes[store.Traffic] != 2 {
		t.Errorf("%v", classes)
	}
}

// TestTrafficHidesNoChange: however many tokens a workload had, and refusals its ticket,
// the key that it replaces and the next workload of the ticket are in the activity, where
// no traffic evicts them.
func TestTrafficHidesNoChange(t *testing.T) {
	f := start(t)
	f.activity.recorded = newLimiter[string](1e-9, 2)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	for range 5 {
		m.idToken(nil).decode(t, 200, &idTokenResponse{})
	}
	err := f.store.Write(t.Context(), func(tx *store.Tx) (err error) {
		for range 5 {
			err = errors.Join(err, f.appendEvent(tx, store.Event{At: f.clock.Now(), Kind: kindEnrol, TicketID: ticket.Name, Reason: "networks"}))
		}
		return errors.Join(err,
			f.appendEvent(tx, store.Event{At: f.clock.Now(), Kind: kindKey, Allowed: true, WorkloadID: m.id}),
			f.appendEvent(tx, store.Event{At: f.clock.Now(), Kind: kindInvite, Allowed: true, WorkloadID: m.id, Resource: "Ticket/x"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	f.enrol(ticket.Ticket)
	for kind, want := range map[string]int{kindKey: 1, kindInvite: 1, kindEnrol: 4} { // of which two were refused
		if got := f.count(kind); got != want {
			t.Errorf("%d events of kind %s, want %d", got, kind, want)
		}
	}
	for _, e := range f.allEvents() {
		if e.Allowed && (e.Kind == kindKey || e.Kind == kindInvite || e.Kind == kindEnrol) && e.Class != store.Enrolment {
			t.Errorf("%s is of class %s", e.Kind, e.Class)
		}
	}
}

// TestClasses: what everything that can be recorded is of.
func TestClasses(t *testing.T) {
	for _, tt := range []struct {
		event store.Event
		want  store.Class
	}{
		{store.Event{Kind: kindIDToken, Allowed: true}, store.Traffic},
		{store.Event{Kind: kindIDToken}, store.Traffic},
		{store.Event{Kind: kindSecret, Allowed: true}, store.Traffic},
		{store.Event{Kind: kindEnrol, Allowed: true}, store.Enrolment},
		{store.Event{Kind: kindEnrol}, store.Traffic},
		{store.Event{Kind: kindKey, Allowed: true}, store.Enrolment},
		{store.Event{Kind: kindKey}, store.Traffic},
		{store.Event{Kind: kindInvite, Allowed: true}, store.Enrolment},
		{store.Event{Kind: kindAdmin, AdminID: "at1:a"}, store.Traffic},
		{store.Event{Kind: kindRestore, Allowed: true}, store.Administration},
		{store.Event{Kind: "signing_key.activate", Allowed: true}, store.Administration},
		{store.Event{Kind: "ticket.create", Allowed: true, AdminID: "at1:a"}, store.Administration},
		{store.Event{Kind: kindIDToken, Class: store.Unauthenticated}, store.Unauthenticated},
	} {
		if got := classOf(tt.event); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.event, got, tt.want)
		}
	}
}

// TestChangesAreKeptForLonger than the rest, if so configured.
func TestChangesAreKeptForLonger(t *testing.T) {
	f := start(t, func(c *Config) { c.ActivityRetention, c.ChangesRetention = 2*time.Hour, 5*time.Hour })
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	pass := func(hours int, tokens, enrolments int) {
		t.Helper()
		for range hours {
			f.clock.Advance(time.Hour)
			f.mustTidy()
		}
		if got, other := f.count(kindIDToken), f.count(kindEnrol); got != tokens || other != enrolments {
			t.Errorf("%d tokens, %d enrolments, want %d and %d", got, other, tokens, enrolments)
		}
	}
	pass(2, 1, 1)
	pass(1, 0, 1)
	pass(2, 0, 1)
	pass(1, 0, 0)
	f.wantIntact()
}

// TestEveryClassButAdministrationHasABound: those from before there were classes, too.
func TestEveryClassButAdministrationHasABound(t *testing.T) {
	c := Config{MaxEvents: 100, ActivityRetention: time.Hour, ChangesRetention: time.Hour}
	for _, class := range store.Classes() {
		if life, keep := c.retention(class); life != time.Hour || (keep == 0) != (class == store.Administration) {
			t.Errorf("class %s: %d events for %s", nameOf(class), keep, life)
		}
	}
}
