package authority

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// asker is a workload that may do everything, and what a control is to be put in the
// way of.
type asker struct {
	f      *fixture
	m      *member
	ticket resource.Ticket
}

// newAsker is an orchestrator that has a ticket with uses left, a secret and a factory.
func (f *fixture) newAsker() asker {
	f.t.Helper()
	f.declareNetworks("elsewhere", "203.0.113.0/24")
	ticket := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator, MaxUses: 5, Tags: []string{"a"}})
	m := f.enrol(ticket.Ticket)
	f.createSecret("db", "content of the database's secret", "a")
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{m.id}})
	return asker{f, m, ticket}
}

// patch has an administrator change something, and wants that to succeed.
func (a asker) patch(path, spec string) {
	a.f.t.Helper()
	if got := a.f.send("PATCH", path, "Bearer "+a.f.admin, `{"spec":`+spec+`}`); got.status != 200 {
		a.f.t.Fatalf("PATCH %s: %d %s", path, got.status, got.body)
	}
}

func (a asker) patchTicket(spec string) {
	a.f.t.Helper()
	a.patch(resource.TicketsPath+"/"+a.ticket.Name, spec)
}

// contactControls refuse every contact of an enrolled workload.
var contactControls = map[string]func(asker){
	controlStatus:   func(a asker) { a.patchTicket(`{"status":"deactivated"}`) },
	controlExpiry:   func(a asker) { a.patchTicket(`{"expires_at":"` + startTime.Format(time.RFC3339) + `"}`) },
	controlNetworks: func(a asker) { a.patchTicket(`{"networks":["elsewhere"]}`) },
	controlWorkload: func(a asker) { a.patch(resource.WorkloadsPath+"/"+a.m.id, `{"status":"deactivated"}`) },
	controlWorkloadTTL: func(a asker) {
		a.patchTicket(`{"workload_ttl":"1s"}`)
		a.f.clock.Advance(time.Second)
	},
}

// ask is one request of the operator API, with the controls of its own, if it has any.
type ask struct {
	method, path string
	body         func(a asker) any
	serve        func(*fixture) workloadEndpoint // nil of enrolments, which look at nothing before their write
	controls     map[string]func(asker)
}

// asks are the requests, by the kind of their events; a first enrolment beside.
func asks() map[string]ask {
	again := func(a asker) any { return a.m.registration(a.ticket.Ticket) }
	first := func(a asker) any { return a.f.newMember().registration(a.ticket.Ticket) }
	past := startTime.Format(time.RFC3339)
	secret, factory := resource.SecretsPath+"/db", resource.TicketFactoriesPath+"/ci"
	return map[string]ask{
		kindIDToken: {"POST", idTokenPath, func(asker) any { return `{"audience":["x"]}` }, func(f *fixture) workloadEndpoint { return f.issueIDToken }, map[string]func(asker){
			controlAudiences: func(a asker) { a.patchTicket(`{"audiences":["y"]}`) },
		}},
		kindSecret: {"GET", "/operator/v1/secret/db", func(asker) any { return nil }, func(f *fixture) workloadEndpoint { return f.readSecret }, map[string]func(asker){
			"tags":               func(a asker) { a.patchTicket(`{"tags":[]}`) },
			"the secret expired": func(a asker) { a.patch(secret, `{"expires_at":"`+past+`"}`) },
		}},
		kindInvite: {"POST", invitePath, func(asker) any { return `{"ticket_factory_id":"ci"}` }, func(f *fixture) workloadEndpoint { return f.invite }, map[string]func(asker){
			controlRole:                  func(a asker) { a.patchTicket(`{"role":"workload"}`) },
			"status: the ticket factory": func(a asker) { a.patch(factory, `{"status":"deactivated"}`) },
			"minting":                    func(a asker) { a.patch(factory, `{"minting":"closed"}`) },
			"orchestrators":              func(a asker) { a.patch(factory, `{"orchestrators":[]}`) },
		}},
		kindKey:   {"POST", keyPath, func(a asker) any { return a.m.successor().keyRequest() }, func(f *fixture) workloadEndpoint { return f.replaceKey }, nil},
		kindEnrol: {"POST", registerPath, again, nil, nil},
		"first enrolment": {"POST", registerPath, first, nil, map[string]func(asker){
			controlEnrolment: func(a asker) { a.patchTicket(`{"enrolment":"closed"}`) },
			controlMaxUses:   func(a asker) { a.patchTicket(`{"max_uses":1}`) },
		}},
	}
}

// allControls are those that can refuse the request, by how the reason begins.
func (k ask) allControls() map[string]func(asker) {
	all := maps.Clone(contactControls)
	if k.controls[controlMaxUses] != nil { // of a first enrolment: there is no workload yet
		delete(all, controlWorkload)
		delete(all, controlWorkloadTTL)
	}
	maps.Copy(all, k.controls)
	return all
}

// TestARefusalUsesNothingUp: every control at every endpoint; what a refusal leaves behind
// is its event, the id of what it was asked by, and that the workload called.
func TestARefusalUsesNothingUp(t *testing.T) {
	for endpoint, ask := range asks() {
		for name, control := range ask.allControls() {
			t.Run(endpoint+"/"+name, func(t *testing.T) {
				f := start(t)
				a := f.newAsker()
				control(a)
				before, events, authorization := f.everything(), len(f.allEvents()), ""
				if ask.serve != nil {
					authorization = a.m.withAssertion()
				}
				if got := f.send(ask.method, ask.path, authorization, ask.body(a)); got.status != 401 && got.status != 403 && got.status != 404 {
					t.Errorf("answered %d %s", got.status, got.body)
				}
				if after := f.everything(); after != before {
					t.Errorf("the refusal left\n%s\nwhere there was\n%s", after, before)
				}
				if newest := f.newest(); len(f.allEvents()) != events+1 || newest.Allowed || !strings.HasPrefix(newest.Reason, name) || newest.TokenID != "" {
					t.Errorf("activity %+v", newest)
				}
			})
		}
	}
}

// TestControlsAreCheckedInTheWriteThatRecords: security.md 36. A request that was let in
// before an administrator's change is decided after it.
func TestControlsAreCheckedInTheWriteThatRecords(t *testing.T) {
	for endpoint, ask := range asks() {
		if ask.serve == nil {
			continue
		}
		for name, control := range ask.allControls() {
			t.Run(endpoint+"/"+name, func(t *testing.T) {
				f := start(t)
				a := f.newAsker()
				r := a.request(ask)
				who, err := f.authenticate(r, f.event(r, endpoint))
				if err != nil {
					t.Fatal(err)
				}
				control(a)
				before := f.everything()
				_, err = ask.serve(f)(r, who)
				var refused *refusal
				if !errors.As(err, &refused) || refused.status != 403 && refused.status != 404 {
					t.Errorf("decided %v", err)
				}
				if newest := f.newest(); newest.Allowed || !strings.HasPrefix(newest.Reason, name) {
					t.Errorf("activity %+v", newest)
				}
				if after := f.everything(); after != before {
					t.Errorf("it left\n%s\nwhere there was\n%s", after, before)
				}
			})
		}
	}
}

// request is an ask as the authority gets it.
func (a asker) request(ask ask) *http.Request {
	a.f.t.Helper()
	var body io.Reader
	switch content := ask.body(a).(type) {
	case string:
		body = strings.NewReader(content)
	case map[string]any:
		text, err := json.Marshal(content)
		if err != nil {
			a.f.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r := httptest.NewRequest(ask.method, ask.path, body)
	r.Header.Set("Authorization", a.m.withAssertion())
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "127.0.0.1:1"
	r.SetPathValue("id", "db")
	return r
}

// TestATokenSaysWhatHoldsWhenItIsRecorded: what was signed before the write is signed
// again where an administrator came between.
func TestATokenSaysWhatHoldsWhenItIsRecorded(t *testing.T) {
	f := start(t)
	a := f.newAsker()
	r := a.request(asks()[kindIDToken])
	who, err := f.authenticate(r, f.event(r, kindIDToken))
	if err != nil {
		t.Fatal(err)
	}
	a.patchTicket(`{"tags":["b"],"max_token_ttl":"5s"}`)
	answer, err := f.issueIDToken(r, who)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.body.(idTokenResponse).JWT, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got idTokenClaims
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	if newest := f.newest(); !slices.Equal(got.Extra.Tags, []string{"b"}) || got.Expires != got.IssuedAt+5 || newest.TokenID != got.ID {
		t.Errorf("token %+v, activity %+v", got, newest)
	}
}

// TestNoDecisionSlipsPastADeactivation, however many ask meanwhile: in the order in which
// the activity has it.
func TestNoDecisionSlipsPastADeactivation(t *testing.T) {
	f := start(t)
	a := f.newAsker()
	path := resource.WorkloadsPath + "/" + a.m.id
	done := make(chan struct{})
	var askers sync.WaitGroup
	for range 6 {
		bearers := make([]string, 60)
		for i := range bearers {
			bearers[i] = a.m.withAssertion()
		}
		askers.Go(func() {
			for _, bearer := range bearers {
				if _, err := f.trySend("POST", idTokenPath, bearer, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { askers.Wait(); close(done) }()
	for status := resource.StatusDeactivated; ; {
		a.patch(path, `{"status":"`+status+`"}`)
		if status == resource.StatusDeactivated {
			status = resource.StatusActive
		} else {
			status = resource.StatusDeactivated
		}
		select {
		case <-done:
			f.checkOrder(a.m.id)
			return
		default:
		}
	}
}

// checkOrder fails if a workload was allowed anything while it was deactivated, or if the
// activity cannot tell.
func (f *fixture) checkOrder(id string) {
	f.t.Helper()
	events := f.allEvents()
	slices.Reverse(events)
	active, allowed, refused := true, 0, 0
	for _, e := range events {
		switch {
		case e.Kind == "workload.change":
			active = !active
		case e.Kind == kindIDToken && e.Allowed && !active:
			f.t.Errorf("event %d: allowed while the workload was deactivated", e.Sequence)
		case e.Kind == kindIDToken && e.Allowed:
			allowed++
		case e.Kind == kindIDToken:
			refused++
		}
	}
	if allowed == 0 || refused == 0 {
		f.t.Errorf("%d allowed, %d refused: too few to tell", allowed, refused)
	}
}
