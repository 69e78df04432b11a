package authority

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// taker is an endpoint that takes a signed message: an assertion as a bearer, or a
// proof in a body.
type taker struct {
	name    string
	route   string
	kind    string // of its activity
	status  int    // of a refusal
	bearer  bool
	genuine func() message
	send    func(text string) answer
	more    func(m message) []forgery // that only it can see
}

// assertionMessage is a client assertion in its parts.
func (m *member) assertionMessage() message {
	now := m.f.clock.Now().Unix()
	return message{by: m, header: map[string]any{"alg": "ES256", "kid": m.public.Thumbprint(), "typ": "lanyard-client+jwt"}, claims: map[string]any{
		"iss": m.id, "sub": m.id, "aud": m.f.OperatorBase(), "iat": now, "exp": now + 60, "jti": freshJTI(),
	}}
}

// proofMessage is a proof of possession, with the claim that says what for.
func (m *member) proofMessage(claim, value string) message {
	return message{by: m, header: map[string]any{"alg": "ES256", "kid": m.public.Thumbprint(), "typ": typeRegistration}, claims: map[string]any{
		"aud": m.f.OperatorBase(), "iat": m.f.clock.Now().Unix(), "jti": freshJTI(), "jkt": m.public.Thumbprint(), claim: value,
	}}
}

// takers are all endpoints for workloads, each once for what it takes.
func (f *fixture) takers() []taker {
	f.t.Helper()
	orchestrator, ticket := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}})
	f.createSecret("s", secretContent)
	neighbour := f.enrol(ticket.Ticket)
	other := f.createTicket(resource.TicketSpec{})
	fresh := f.newMember()
	assertion := func(name, route, kind, method, path string, body func() any) taker {
		return taker{
			name: name, route: route, kind: kind, status: 401, bearer: true, genuine: orchestrator.assertionMessage,
			send: func(text string) answer { return f.send(method, path, "Bearer "+text, body()) },
			more: func(m message) []forgery { return f.assertionForgeries(m, neighbour, ticket.Ticket) },
		}
	}
	nothing := func() any { return nil }
	return []taker{
		assertion("id_token", idTokenPath, kindIDToken, "POST", idTokenPath, nothing),
		assertion("invite", invitePath, kindInvite, "POST", invitePath, func() any { return inviteRequest{"ci"} }),
		assertion("secret", secretPath, kindSecret, "GET", "/operator/v1/secret/s", nothing),
		assertion("key", keyPath, kindKey, "POST", keyPath, func() any { return orchestrator.keyRequest() }),
		{
			name: "register, its proof", route: registerPath, kind: kindEnrol, status: 401,
			genuine: func() message { return fresh.proofMessage("ticket_sha256", jose.Digest([]byte(ticket.Ticket))) },
			send: func(text string) answer {
				return f.send("POST", registerPath, "", map[string]any{"ticket": ticket.Ticket, "jwk": json.RawMessage(fresh.public.JWK()), "proof": text})
			},
			more: func(m message) []forgery {
				return append(f.proofForgeries(m, neighbour, "ticket_sha256", map[string]string{
					"for another ticket": jose.Digest([]byte(other.Ticket)), "for a ticket's public id": jose.Digest([]byte(ticket.Name)), "for the ticket itself": ticket.Ticket,
				}), forgery{name: "for a workload", text: fresh.proofMessage("workload_id", orchestrator.id).String(), reason: "ticket_sha256"})
			},
		},
		{
			// Who asks is authenticated, and is told what is wrong.
			name: "key, its proof", route: keyPath, kind: kindKey, status: 400,
			genuine: func() message { return orchestrator.proofMessage("workload_id", orchestrator.id) },
			send: func(text string) answer {
				return f.send("POST", keyPath, "Bearer "+orchestrator.assertion(), map[string]any{"jwk": json.RawMessage(orchestrator.public.JWK()), "proof": text})
			},
			more: func(m message) []forgery {
				return append(f.proofForgeries(m, neighbour, "workload_id", map[string]string{
					"for another workload": neighbour.id, "for no workload": "pr1:", "in other case": strings.ToUpper(orchestrator.id),
				}), forgery{name: "for a ticket", text: orchestrator.proofMessage("ticket_sha256", jose.Digest([]byte(ticket.Ticket))).String(), reason: "workload_id"})
			},
		},
	}
}

// audienceForgeries are for somebody else, or for us and somebody else.
func (f *fixture) audienceForgeries(m message) []forgery {
	var all []forgery
	base := f.OperatorBase()
	for _, audience := range []any{
		"https://elsewhere.example/operator", base + "/", base + "/v1/id_token", f.base, f.OperatorID(), strings.ToUpper(base), "https" + strings.TrimPrefix(base, "http"),
		strings.Replace(base, "127.0.0.1", "localhost", 1), base + "?", []string{base}, []string{base, "https://elsewhere.example"},
	} {
		all = append(all, forgery{name: "aud " + render(audience), text: m.with("aud", audience).String(), reason: `"aud"`})
	}
	long := forgery{name: "jti of a byte more", text: m.with("jti", text(maxJTILength+1)).String(), reason: `"jti"`}
	return append(all, long)
}

// assertionForgeries are of another time, by another workload, or for another use.
func (f *fixture) assertionForgeries(m message, neighbour *member, ticket string) []forgery {
	now := f.clock.Now().Unix()
	at := func(issued, expires int64) string { return m.with("iat", issued).with("exp", expires).String() }
	proof := m.by.proofMessage("ticket_sha256", jose.Digest([]byte(ticket)))
	proof.claims["iss"], proof.claims["sub"], proof.claims["exp"] = m.by.id, m.by.id, now+60
	return append(f.audienceForgeries(m), []forgery{
		{name: "from the future", text: at(now+61, now+120), reason: "clock"},
		{name: "from the past", text: at(now-120, now-60), reason: "clock"},
		{name: "from long ago", text: at(0, 60), reason: "clock"},
		{name: "exp too far", text: at(now, now+61), reason: "after iat"},
		{name: "exp years on", text: at(now, 253402300799), reason: "after iat"},
		{name: "exp at iat", text: at(now, now), reason: "after iat"},
		{name: "exp before iat", text: at(now, now-1), reason: "after iat"},
		{name: "not yet valid", text: m.with("nbf", now+61).String(), reason: "not valid yet"},
		{name: "nbf a string", text: m.with("nbf", "x").String(), reason: `"nbf"`},
		{name: "nbf null", text: m.with("nbf", verbatim("null")).String(), reason: `"nbf"`},
		{name: "another's id", text: m.with("iss", neighbour.id).with("sub", neighbour.id).with("header.kid", nil).String(), reason: "signature"},
		{name: "another's sub", text: m.with("sub", neighbour.id).String(), reason: `"sub"`},
		{name: "another's iss", text: m.with("iss", neighbour.id).String(), reason: "key"},
		{name: "nobody's id", text: m.with("iss", "pr1:"+strings.Repeat("0", idLength)).String(), reason: "no such workload"},
		{name: "iss of another form", text: m.with("iss", text(5000)).String(), reason: "iss"},
		{name: "iss is the operator", text: m.with("iss", f.OperatorID()).String(), reason: "iss"},
		{name: "typ of a proof", text: m.with("header.typ", typeRegistration).String(), reason: "typ"},
		{name: "a proof with all claims", text: proof.String(), reason: "typ"},
	}...)
}

// proofForgeries are of another time, of another key, or for another use.
func (f *fixture) proofForgeries(m message, neighbour *member, claim string, values map[string]string) []forgery {
	now := f.clock.Now().Unix()
	assertion := neighbour.assertionMessage().signedBy(m.by)
	all := append(f.audienceForgeries(m), []forgery{
		{name: "from the future", text: m.with("iat", now+61).String(), reason: "clock"},
		{name: "from the past", text: m.with("iat", now-61).String(), reason: "clock"},
		{name: "from long ago", text: m.with("iat", 0).String(), reason: "clock"},
		{name: "of another key", text: m.with("jkt", neighbour.public.Thumbprint()).String(), reason: `"jkt"`},
		{name: "an assertion", text: assertion.with("header.kid", nil).String(), reason: "typ"},
		{name: "no typ", text: m.with("header.typ", nil).String(), reason: "typ"},
		{name: "typ JWT", text: m.with("header.typ", "JWT").String(), reason: "typ"},
		{name: "typ of an assertion", text: m.with("header.typ", "lanyard-client+jwt").String(), reason: "typ"},
	}...)
	for what, value := range values {
		all = append(all, forgery{name: what, text: m.with(claim, value).String(), reason: claim})
	}
	return all
}

// TestForgeriesAtEveryEndpoint: security.md 15, 16. To a stranger each refusal is the
// same answer, the activity says why, and nobody gets anything by it.
func TestForgeriesAtEveryEndpoint(t *testing.T) {
	f := start(t)
	takers, stranger := f.takers(), f.newMember()
	for route := range f.routes().api {
		isWorkloads := strings.HasPrefix(route, operatorPath) && route != jwksPath
		if isWorkloads && !slices.ContainsFunc(takers, func(t taker) bool { return t.route == route }) {
			t.Errorf("%s is for workloads, and no forgery is tried there", route)
		}
	}
	before := f.everything()
	for _, taker := range takers {
		t.Run(taker.name, func(t *testing.T) {
			first, count := "", 0
			for _, forge := range []func(m message) []forgery{
				claimForgeries, headerForgeries(stranger), signatureForgeries(stranger), encodingForgeries, taker.more,
			} {
				f.clock.Advance(10 * time.Second) // so that each refusal has an event of its own
				for _, forged := range forge(taker.genuine()) {
					if !taker.bearer || !forged.inBody {
						f.tryForgery(t, taker, forged, &first)
						count++
					}
				}
			}
			t.Logf("%d forgeries", count)
		})
	}
	if after := f.everything(); after != before {
		t.Errorf("there is now\n%s\nand was\n%s", after, before)
	}
}

// tryForgery sends one; what strangers are told must be what they were told first.
func (f *fixture) tryForgery(t *testing.T, taker taker, forged forgery, first *string) {
	t.Helper()
	before := f.newest().Sequence
	got := taker.send(forged.text)
	want, reason := taker.status, forged.reason
	if taker.bearer && strings.ContainsAny(forged.text, " \t,") {
		reason = "no bearer"
	}
	inForm := forged.inForm && !taker.bearer
	if inForm {
		want = http.StatusBadRequest
	}
	if got.status != want {
		t.Errorf("%s: %d %.200s, want %d", forged.name, got.status, got.body, want)
		return
	}
	got.refused(t, want)
	if want == http.StatusUnauthorized {
		if *first == "" {
			*first = got.same()
		}
		if got.same() != *first {
			t.Errorf("%s: answer %s, the first was %s", forged.name, got.same(), *first)
		}
	}
	e := f.newest()
	if inForm {
		if e.Sequence != before {
			t.Errorf("%s: a form that is wrong is recorded: %+v", forged.name, e)
		}
		return
	}
	if e.Sequence == before || e.Kind != taker.kind || e.Allowed || !strings.Contains(e.Reason, reason) || e.Resource != "" {
		t.Errorf("%s: activity %+v, want a refusal for %q", forged.name, e, reason)
	}
	if strings.Contains(e.Reason, "attacker") || len(e.Reason) > 200 {
		t.Errorf("%s: the activity repeats the message: %s", forged.name, e.Reason)
	}
}

// everything is what there is of all kinds, but for when a workload was seen last.
func (f *fixture) everything() string {
	f.t.Helper()
	var all strings.Builder
	for _, k := range resource.Kinds() {
		var page resource.Page[resource.Any]
		f.send("GET", k.Path+"?limit=200", "Bearer "+f.admin, nil).decode(f.t, 200, &page)
		for _, one := range page.Items {
			var status map[string]any
			if err := json.Unmarshal(one.Status, &status); err != nil {
				f.t.Fatal(err)
			}
			delete(status, "last_contact_at")
			all.WriteString(k.Kind + "/" + one.Name + " " + string(one.Spec) + " " + render(status) + "\n")
		}
	}
	return all.String()
}

// TestNothingSignedIsAcceptedTwice: not the same text, not another signature of it,
// not at another endpoint, and not after a restart.
func TestNothingSignedIsAcceptedTwice(t *testing.T) {
	f := start(t)
	takers := f.takers()
	for _, taker := range takers {
		t.Run(taker.name, func(t *testing.T) {
			m := taker.genuine()
			spent := m.String()
			if got := taker.send(spent); got.status != 200 {
				t.Fatalf("genuine: %d %s", got.status, got.body)
			}
			again := []forgery{{name: "the same text", text: spent}, {name: "another signature", text: m.String()}, {name: "with more claims", text: m.with("more", 1).String()}}
			for _, replay := range append(again, forgery{name: "after a restart", text: m.String()}) {
				if replay.name == "after a restart" {
					f.restart()
				}
				for _, at := range takers {
					if at.bearer != taker.bearer || !taker.bearer && at.name != taker.name {
						continue // there it is not even of the right type
					}
					at.send(replay.text).refused(t, at.status)
					if e := f.newest(); e.Allowed || e.Kind != at.kind || !strings.Contains(e.Reason, "used before") {
						t.Errorf("%s at %s: activity %+v", replay.name, at.name, e)
					}
				}
			}
		})
	}
}
