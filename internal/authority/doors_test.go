package authority

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
	"github.com/lanyardhq/lanyard/internal/verify"
)

const (
	ledger      = "https://ledger.internal"
	localAPIKey = "the-key-of-a-local-api"
)

// credential is something that somebody holds and could try anywhere.
type credential struct {
	name string
	text func() string // anew, where it is good for one use
	by   *member       // whose it is
}

// Outcomes of a credential at a door.
const (
	in        = "in"
	stays     = "."         // 401
	forbidden = "forbidden" // 403: who it is is known
	badProof  = "refused"   // 400, to somebody authenticated by something else
)

// door is a place where a credential is asked for.
type door struct {
	name string
	send func(c credential) int // returns the status
	lets map[string]string      // outcomes by name of the credential; others stay outside
	open bool                   // to everybody
	// told is what those let in are told of what they ask for, if not that it is done.
	told int
	// form: what is not even of the right form is 400, and as good as 401.
	form bool
}

// hall is everything that has a door: an authority, a local API, and a service that
// verifies tokens.
type hall struct {
	*fixture
	workload, orchestrator, agent *member
	ticket                        resource.Ticket // the orchestrator's
	viewer                        string
	made                          int
}

func newHall(f *fixture) *hall {
	f.t.Helper()
	h := &hall{fixture: f}
	h.workload = f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	h.agent = f.enrol(f.createTicket(resource.TicketSpec{Role: resource.RoleAgent}).Ticket)
	h.orchestrator, h.ticket = f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{h.ticket.Name}})
	f.createSecret("s", secretContent)
	var viewer resource.AdminToken
	f.send("POST", resource.AdminTokensPath, "Bearer "+f.admin, `{"spec":{"role":"viewer"}}`).decode(f.t, 201, &viewer)
	h.viewer = viewer.Token
	f.secrets = append(f.secrets, viewer.Token)
	return h
}

func (h *hall) credentials() []credential {
	idToken := func(audiences string) func() string {
		return always(tokenOf(h.t, h.workload.idToken(`{"audience":[`+audiences+`]}`)))
	}
	everyClaim := func() string {
		m := h.workload.proofMessage("workload_id", h.workload.id)
		m.claims["iss"], m.claims["sub"], m.claims["exp"] = h.workload.id, h.workload.id, h.clock.Now().Unix()+60
		return m.with("ticket_sha256", "x").String()
	}
	return []credential{
		{"none", always(""), h.workload},
		{"garbage", always("garbage"), h.workload},
		{"ID token", idToken(""), h.workload},
		{"ID token for ledger", idToken(`"` + ledger + `"`), h.workload},
		{"ID token for base", idToken(`"` + h.OperatorBase() + `"`), h.workload},
		{"workload's assertion", func() string { return h.workload.assertion() }, h.workload},
		{"orchestrator's assertion", func() string { return h.orchestrator.assertion() }, h.orchestrator},
		{"agent's assertion", func() string { return h.agent.assertion() }, h.agent},
		{"enrolment proof", func() string { return h.orchestrator.proof(h.ticket.Ticket) }, h.orchestrator},
		{"key proof", func() string { return h.orchestrator.newKeyProof(h.orchestrator.id) }, h.orchestrator},
		{"proof, all claims", everyClaim, h.workload},
		{"ticket", always(h.ticket.Ticket), h.orchestrator},
		{"ticket's name", always(h.ticket.Name), h.orchestrator},
		{"workload's id", always(h.workload.id), h.workload},
		{"admin", always(h.admin), h.workload},
		{"viewer", always(h.viewer), h.workload},
		{"local API key", always(localAPIKey), h.workload},
	}
}

// everyAssertion is a door that all workloads pass.
func everyAssertion() map[string]string {
	return map[string]string{"workload's assertion": in, "orchestrator's assertion": in, "agent's assertion": in}
}

// operatorDoors are those of the operator API by their routes. Some routes have two.
func (h *hall) operatorDoors() map[string][]door {
	bearer := func(method, path string, body func(c credential) any) func(c credential) int {
		return func(c credential) int { return h.send(method, path, bearerOf(c), body(c)).status }
	}
	nothing := func(credential) any { return nil }
	offers := func(c credential, proof string) map[string]any {
		return map[string]any{"jwk": json.RawMessage(c.by.public.JWK()), "proof": proof}
	}
	register := func(c credential, ticket, proof string) int {
		body := offers(c, proof)
		body["ticket"] = ticket
		return h.send("POST", registerPath, bearerOf(c), body).status
	}
	return map[string][]door{
		registerPath: {
			{name: "its ticket", form: true, lets: map[string]string{"ticket": in}, send: func(c credential) int {
				ticket := c.text()
				return register(c, ticket, c.by.proof(ticket))
			}},
			{name: "its proof", form: true, lets: map[string]string{"enrolment proof": in}, send: func(c credential) int { return register(c, h.ticket.Ticket, c.text()) }},
		},
		idTokenPath: {{lets: everyAssertion(), send: bearer("POST", idTokenPath, nothing)}},
		secretPath:  {{lets: everyAssertion(), send: bearer("GET", "/operator/v1/secret/s", nothing)}},
		invitePath: {{
			lets: map[string]string{"orchestrator's assertion": in, "workload's assertion": forbidden, "agent's assertion": forbidden},
			send: bearer("POST", invitePath, func(credential) any { return inviteRequest{"ci"} }),
		}},
		keyPath: {
			{name: "its bearer", lets: everyAssertion(), send: bearer("POST", keyPath, func(c credential) any { return offers(c, c.by.newKeyProof(c.by.id)) })},
			{name: "its proof", lets: h.onlyTheProof(), send: func(c credential) int {
				return h.send("POST", keyPath, "Bearer "+c.by.assertion(), offers(c, c.text())).status
			}},
		},
		jwksPath: {{open: true, send: bearer("GET", jwksPath, nothing)}},
	}
}

// onlyTheProof is a door where who asks is authenticated already.
func (h *hall) onlyTheProof() map[string]string {
	lets := map[string]string{}
	for _, c := range h.credentials() {
		lets[c.name] = badProof
	}
	lets["key proof"] = in
	// It says what for twice, once wrongly; that it is a workload's own counts.
	lets["proof, all claims"] = in
	return lets
}

func bearerOf(c credential) string {
	if text := c.text(); text != "" {
		return "Bearer " + text
	}
	return ""
}

// adminDoor is the rule for all of the admin API: who may look, and who may change.
func (h *hall) adminDoor(method, route string) door {
	lets := map[string]string{"admin": in, "viewer": forbidden}
	if method == http.MethodGet {
		lets["viewer"] = in
	}
	told := map[string]int{resource.SigningKeysPath + "/rotate": http.StatusConflict, resource.SigningKeysPath + "/{name}/revoke": http.StatusNotFound}
	return door{lets: lets, told: told[route], send: func(c credential) int {
		path, body := h.adminRequest(method, route)
		return h.send(method, path, bearerOf(c), body).status
	}}
}

// adminRequest is one that is answered well; of the verbs for keys, one that changes no
// key. It makes anew what it is about.
func (h *hall) adminRequest(method, route string) (path string, body any) {
	i := slices.IndexFunc(resource.Kinds(), func(k resource.KindInfo) bool { return route == k.Path || strings.HasPrefix(route, k.Path+"/") })
	if i < 0 {
		return route, nil
	}
	k := resource.Kinds()[i]
	s := specs(h.ticket.Name, h.orchestrator.id)[k.Kind]
	h.made++
	name := fmt.Sprint("made", h.made)
	_, creates := h.routes().api[k.Path][http.MethodPost]
	switch {
	case method == http.MethodPost && route == k.Path:
		return route, map[string]any{"name": name, "spec": s.body}
	case creates:
		h.send("POST", k.Path, "Bearer "+h.admin, map[string]any{"name": name, "spec": s.body}).decode(h.t, 201, &resource.Any{})
	case k.Kind == resource.KindWorkload:
		name = h.agent.id
	case method == http.MethodGet:
		var keys resource.Page[resource.SigningKey]
		h.send("GET", k.Path, "Bearer "+h.admin, nil).decode(h.t, 200, &keys)
		name = keys.Items[0].Name
	}
	path = strings.Replace(route, "{name}", name, 1)
	if method == http.MethodPut || method == http.MethodPatch {
		return path, map[string]any{"spec": s.body}
	}
	return path, nil
}

// localDoors are the calls of a local API.
func (h *hall) localDoors() []door {
	api := localapi.New(localapi.Config{
		Log: slog.New(slog.DiscardHandler), Key: func() (localapi.Key, error) { return localapi.NewKey(localAPIKey), nil }, Tokens: localThings{},
		Workload: func(string) (localapi.Workload, bool) { return localThings{}, true }, Identity: func() string { return "ledger-client" },
	})
	server := httptest.NewServer(api.Handler())
	h.t.Cleanup(server.Close)
	var all []door
	for _, pattern := range api.Calls() {
		method, path, _ := strings.Cut(pattern, " ")
		all = append(all, door{name: "local API " + pattern, lets: map[string]string{"local API key": in}, send: func(c credential) int {
			return h.elsewhere(method, server.URL+strings.Replace(path, "{id}", "s", 1), c)
		}})
	}
	return all
}

// verifierDoors are those of services behind our verifier.
func (h *hall) verifierDoors() []door {
	verifier := func(config verify.Config) *verify.Verifier {
		config.KeysURL, config.Now, config.Client = h.base+jwksPath, h.clock.Now, h.client
		v, err := verify.New(h.t.Context(), config)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(v.Close)
		return v
	}
	open := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	forLedger := verifier(verify.Config{Audience: ledger, Issuer: h.Issuer()})
	forAny := verifier(verify.Config{AnyAudience: true})
	ids := map[string]string{"ID token": in, "ID token for ledger": in, "ID token for base": in}
	one := map[string]string{"ID token for ledger": in}
	var all []door
	for _, d := range []struct {
		name    string
		handler http.Handler
		lets    map[string]string
	}{
		{"verify: a service", forLedger.Protect(open), one},
		{"verify: forward-auth", forLedger.ForwardAuth(), one},
		{"verify: a service for any audience", forAny.Protect(open), ids},
		{"verify: of another issuer", verifier(verify.Config{AnyAudience: true, Issuer: "https://another.example"}).Protect(open), nil},
	} {
		server := httptest.NewServer(d.handler)
		h.t.Cleanup(server.Close)
		all = append(all, door{name: d.name, lets: d.lets, send: func(c credential) int { return h.elsewhere("GET", server.URL, c) }})
	}
	return all
}

// elsewhere sends a credential to another server than the authority's.
func (h *hall) elsewhere(method, url string, c credential) int {
	h.t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(`{"ticket_factory_id":"ci"}`))
	if err != nil {
		h.t.Fatal(err)
	}
	if bearer := bearerOf(c); bearer != "" {
		request.Header.Set("Authorization", bearer)
	}
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := plain.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// localThings is what the local API hands out to whom it lets in.
type localThings struct{}

func (localThings) Get(context.Context, token.Request) (token.Token, error) {
	return token.New("a.b.c", "jwt1:x", time.Now(), time.Now().Add(time.Hour))
}
func (localThings) Enrol(context.Context) (operator.Enrolment, error) {
	return operator.Enrolment{}, nil
}
func (localThings) Secret(context.Context, string, bool) (operator.Secret, error) {
	return operator.Secret{}, nil
}
func (localThings) Invite(context.Context, string) (string, error) { return "lyt_x", nil }

// doors are all there are. A route without one is an error.
func (h *hall) doors() []door {
	var all []door
	ofOperator := h.operatorDoors()
	served := h.routes()
	for route, endpoints := range served.api {
		for method := range endpoints {
			if route == documentPath {
				all = append(all, h.openDoor(route))
				continue
			}
			doors := ofOperator[route]
			if strings.HasPrefix(route, "/admin/") {
				doors = []door{h.adminDoor(method, route)}
			}
			if len(doors) == 0 {
				h.t.Errorf("nothing says who may pass at %s %s", method, route)
			}
			for _, d := range doors {
				d.name = strings.TrimSpace(method + " " + route + " " + d.name)
				all = append(all, d)
			}
		}
	}
	for route := range served.issuer {
		all = append(all, h.openDoor(h.issuerPath()+route))
	}
	for route := range served.own {
		all = append(all, h.openDoor(route))
	}
	all = append(append(all, h.localDoors()...), h.verifierDoors()...)
	slices.SortFunc(all, func(a, b door) int { return strings.Compare(a.name, b.name) })
	return all
}

func (h *hall) openDoor(path string) door {
	return door{name: "GET " + path, open: true, send: func(c credential) int { return h.send("GET", path, bearerOf(c), nil).status }}
}

// outcome says in one word what became of a credential.
func (d door) outcome(c credential) string {
	status := d.send(c)
	switch {
	case status/100 == 2 && d.told == 0 || status == d.told:
		return in
	case status == http.StatusUnauthorized, status == http.StatusBadRequest && d.form:
		return stays
	case status == http.StatusForbidden:
		return forbidden
	case status == http.StatusBadRequest:
		return badProof
	}
	return fmt.Sprint(status)
}

// TestEveryTokenTypeAtEveryEndpoint: security.md 14. Only the pairs that are meant to
// fit do; who is let in is also served.
func TestEveryTokenTypeAtEveryEndpoint(t *testing.T) {
	for mode, start := range map[string]func(*testing.T) *fixture{
		"issuer op1": func(t *testing.T) *fixture { return start(t) },
		"issuer URL": func(t *testing.T) *fixture { return startIssuer(t, "/tenants/a") },
	} {
		t.Run(mode, func(t *testing.T) {
			h := newHall(start(t))
			credentials := h.credentials()
			var matrix strings.Builder
			wrong := 0
			for _, d := range h.doors() {
				fmt.Fprintf(&matrix, "%-55s", d.name)
				for _, c := range credentials {
					want := stays
					if d.open {
						want = in
					} else if lets, named := d.lets[c.name]; named {
						want = lets
					}
					got := d.outcome(c)
					if got != want {
						wrong++
						got = "[" + got + ", not " + want + "]"
					}
					fmt.Fprintf(&matrix, " %-10s", got)
				}
				matrix.WriteByte('\n')
			}
			if wrong > 0 {
				var heads []string
				for _, c := range credentials {
					heads = append(heads, c.name)
				}
				t.Errorf("%d pairs are not as they should be; the columns are %s\n%s", wrong, strings.Join(heads, ", "), &matrix)
			}
		})
	}
}
