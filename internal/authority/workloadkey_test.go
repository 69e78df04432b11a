package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// newKeyProof is a proof of possession by the member's key, to be the workload's.
func (m *member) newKeyProof(workloadID string, changes ...claims) string {
	return m.signed(typeRegistration, claims{
		"aud": m.f.OperatorBase(), "iat": m.f.clock.Now().Unix(), "jti": freshJTI(),
		"workload_id": workloadID, "jkt": m.public.Thumbprint(),
	}, changes...)
}

// successor is a member with a key of its own that is, or is to be, the same workload.
func (m *member) successor() *member {
	next := m.f.newMember()
	next.id = m.id
	return next
}

// replaceKey asks, by m's key, to make next's the workload's.
func (m *member) replaceKey(next *member, changes ...claims) answer {
	m.f.t.Helper()
	return m.f.send("POST", keyPath, "Bearer "+m.assertion(), next.keyRequest(changes...))
}

func (m *member) keyRequest(changes ...claims) map[string]any {
	return map[string]any{"jwk": json.RawMessage(m.public.JWK()), "proof": m.newKeyProof(m.id, changes...)}
}

func TestAWorkloadReplacesItsKey(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{MaxUses: 1})
	old := f.enrol(ticket.Ticket)
	next := old.successor()
	inFlight := old.assertion() // signed before, sent after
	var got keyResponse
	old.replaceKey(next).decode(t, 200, &got)
	if got.WorkloadID != old.id {
		t.Errorf("workload %s, want %s", got.WorkloadID, old.id)
	}
	if subject := decodeToken(t, next.idToken(nil))["sub"]; subject != old.id {
		t.Errorf("the new key's token is for %v", subject)
	}
	f.send("POST", idTokenPath, "Bearer "+inFlight, nil).refused(t, 401)
	old.idToken(nil).refused(t, 401)
	old.replaceKey(old.successor()).refused(t, 401)
	old.replaceKey(next).refused(t, 401)
	next.replaceKey(next).decode(t, 200, &got) // the answer was lost
	if subject := decodeToken(t, next.idToken(nil))["sub"]; subject != old.id {
		t.Errorf("after the repetition the token is for %v", subject)
	}
	var shown resource.Workload
	f.send("GET", resource.WorkloadsPath+"/"+old.id, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	if shown.Status.KeyThumbprint != next.public.Thumbprint() {
		t.Errorf("shown key %s, want %s", shown.Status.KeyThumbprint, next.public.Thumbprint())
	}
	var reasons []string
	for _, e := range f.events() {
		if e.Kind == kindKey && e.Allowed {
			reasons = append(reasons, e.Reason)
			if e.WorkloadID != old.id || e.TicketID != ticket.Name || e.Source != "127.0.0.1" {
				t.Errorf("event %+v", e)
			}
		}
	}
	want := []string{"it is the workload's key already", "key " + next.public.Thumbprint() + " in place of " + old.public.Thumbprint()}
	if fmt.Sprint(reasons) != fmt.Sprint(want) {
		t.Errorf("recorded %q, want %q", reasons, want)
	}
	f.restart()
	decodeToken(t, next.idToken(nil))
	old.idToken(nil).refused(t, 401)
	f.clock.Advance(time.Second)
	next.register(ticket.Ticket).decode(t, 200, &registerResponse{}) // is still that enrolment: no further use
}

func TestRefusedKeys(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m, neighbour := f.enrol(ticket.Ticket), f.enrol(ticket.Ticket)
	body := func(next *member, proof string) map[string]any {
		return map[string]any{"jwk": json.RawMessage(next.public.JWK()), "proof": proof}
	}
	tests := map[string]struct {
		body   func(next *member) any
		status int
	}{
		"no body":            {func(*member) any { return `{}` }, 400},
		"no key":             {func(n *member) any { return map[string]any{"proof": n.newKeyProof(m.id)} }, 400},
		"no proof":           {func(n *member) any { return map[string]any{"jwk": json.RawMessage(n.public.JWK())} }, 400},
		"unknown member":     {func(n *member) any { return `{"jwk":` + n.public.JWK() + `,"proof":"x","ticket":"y"}` }, 400},
		"RSA":                {func(*member) any { return `{"jwk":{"kty":"RSA","n":"AAAA","e":"AQAB"},"proof":"x"}` }, 400},
		"long proof":         {func(n *member) any { return body(n, strings.Repeat("x", 9000)) }, 400},
		"no JWS":             {func(n *member) any { return body(n, "x") }, 400},
		"another workload's": {func(*member) any { return body(neighbour, neighbour.newKeyProof(m.id)) }, 409},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f.send("POST", keyPath, "Bearer "+m.assertion(), tt.body(m.successor())).refused(t, tt.status)
			decodeToken(t, m.idToken(nil)) // the key is as before
		})
	}
	// A proof for the key of a workload enrols nobody.
	stranger := f.newMember()
	registration := stranger.registration(ticket.Ticket)
	registration["proof"] = stranger.newKeyProof(m.id)
	f.send("POST", registerPath, "", registration).refused(t, 401)
	next := m.successor() // what the rows bend is accepted as it is
	f.send("POST", keyPath, "Bearer "+m.assertion(), body(next, next.newKeyProof(m.id))).decode(t, 200, &keyResponse{})
}

func TestNothingOfAKeyExchangeIsAcceptedTwice(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	next := m.successor()
	request := next.keyRequest()
	f.send("POST", keyPath, "Bearer "+m.assertion(), request).decode(t, 200, &keyResponse{})
	f.send("POST", keyPath, "Bearer "+next.assertion(), request).refused(t, 400) // the proof
	bearer := "Bearer " + next.assertion()
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	f.send("POST", keyPath, bearer, next.successor().keyRequest()).refused(t, 401) // the assertion
	decodeToken(t, next.idToken(nil))
}

func TestControlsHoldForAKeyExchange(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	next := m.successor()
	f.setStatus(ticket, "deactivated")
	if said := m.replaceKey(next).refused(t, 403); !strings.Contains(said, controlStatus) {
		t.Errorf("said %q", said)
	}
	f.setStatus(ticket, "active")
	decodeToken(t, m.idToken(nil))
	next.idToken(nil).refused(t, 401)
}

// TestRaceOfKeyExchanges: of many at once, by one key, one is let through.
func TestRaceOfKeyExchanges(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	candidates := make([]*member, 16)
	answers := make([]answer, len(candidates))
	var exchanges sync.WaitGroup
	for i := range candidates {
		candidates[i] = m.successor()
		bearer, request := "Bearer "+m.assertion(), candidates[i].keyRequest()
		exchanges.Go(func() {
			var err error
			if answers[i], err = f.trySend("POST", keyPath, bearer, request); err != nil {
				t.Error(err)
			}
		})
	}
	exchanges.Wait()
	won := 0
	for i, got := range answers {
		want := 401
		if got.status == 200 {
			won++
			want = 200
		}
		if used := candidates[i].idToken(nil); got.status != want || used.status != want {
			t.Errorf("exchange %d answered %d, its key's token %d", i, got.status, used.status)
		}
	}
	if won != 1 {
		t.Errorf("%d exchanges by one key", won)
	}
}

// TestAKeyReplacedMeanwhile: both requests were let in before either was decided.
func TestAKeyReplacedMeanwhile(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	type exchange struct {
		request *http.Request
		who     caller
		next    *member
	}
	var both [2]exchange
	for i := range both {
		request := httptest.NewRequest("POST", keyPath, nil)
		request.Header.Set("Authorization", "Bearer "+m.assertion())
		who, err := f.authenticate(request, f.event(request, kindKey))
		if err != nil {
			t.Fatal(err)
		}
		both[i] = exchange{request, who, m.successor()}
	}
	for i, e := range both {
		proof, err := f.verifyNewKey(e.next.newKeyProof(m.id), m.id, e.next.public)
		if err != nil {
			t.Fatal(err)
		}
		err = f.decide(e.request, e.who, f.event(e.request, kindKey), func(tx *store.Tx, now store.Enrolled, event *store.Event) (*refusal, error) {
			return exchangeKey(tx, now, e.next.public, proof, event)
		})
		var refused *refusal
		if late := errors.As(err, &refused) && refused.status == 401; late != (i == 1) {
			t.Errorf("exchange %d: %v", i, err)
		}
	}
	decodeToken(t, both[0].next.idToken(nil))
	both[1].next.idToken(nil).refused(t, 401)
}
