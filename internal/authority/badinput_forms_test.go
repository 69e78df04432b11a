package authority

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// forms are all requests with a body. An endpoint of the API that takes one and is
// not among them is an error.
func (f *fixture) forms(t *testing.T) []form {
	t.Helper()
	orchestrator, ticket := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}})
	all := f.operatorForms(ticket.Ticket, orchestrator)
	for _, k := range resource.Kinds() {
		all = append(all, f.kindForms(t, k, ticket.Name, orchestrator.id)...)
	}
	all = append(all, f.verbForms()...)
	for path, endpoints := range f.routes().api {
		for method := range endpoints {
			takesBody := method != http.MethodGet && method != http.MethodDelete
			if takesBody && !slices.ContainsFunc(all, func(f form) bool { return f.method == method && f.route == path }) {
				t.Errorf("%s %s takes a body, and no form says which", method, path)
			}
		}
	}
	return all
}

func always(text string) func() string { return func() string { return text } }

func text(length int) string { return strings.Repeat("a", length) }

// texts are that many different words.
func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("w", i)
	}
	return all
}

// Rules that several members are under.
var (
	descriptionRule = rule{empty: true, beyond: []any{text(maxDescription + 1), "a\nb", "\x1b[31m"}}
	statusRule      = rule{empty: true, beyond: []any{"gone", "Active", text(1000)}}
	expiryRule      = rule{beyond: []any{"tomorrow", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", text(1000)}}
	durationRule    = rule{empty: true, beyond: []any{"60", "-1h", "0s", "1ms", "1000000h", "9999999999999999h", text(1000)}}
	tokenLifeRule   = rule{empty: true, beyond: []any{"60", "-1h", "0s", "1ms", "48h0m1s", text(1000)}}
	usesRule        = rule{beyond: []any{maxTicketUses + 1}}
	tagsRule        = rule{empty: true, beyond: []any{texts(maxTags + 1), []string{""}, []string{"a b"}, []string{"a,b"}, []string{text(maxTagLength + 1)}}}
	audiencesRule   = rule{empty: true, beyond: []any{texts(maxTicketAudiences + 1), []string{""}, []string{"a b"}, []string{text(maxAudienceLength + 1)}}}
	networksRule    = rule{empty: true, beyond: []any{texts(maxTicketNetworks + 1), []string{""}, []string{"nowhere"}, []string{"10.0.0.0/8"}}}
)

// keyRules are those of a workload's key.
func keyRules(rules map[string]rule) map[string]rule {
	maps.Copy(rules, map[string]rule{
		"jwk":         {required: true},
		"jwk.kty":     {required: true, beyond: []any{"RSA", "OKP", "oct", "ec"}},
		"jwk.crv":     {required: true, beyond: []any{"P-384", "P-521", "secp256k1", "Ed25519", "p-256"}},
		"jwk.x":       {required: true, beyond: []any{text(42), text(44), text(5000), strings.Repeat("=", 43), text(42) + "B"}},
		"jwk.y":       {required: true, beyond: []any{text(42), text(44), text(5000), strings.Repeat("+", 43), text(42) + "B"}},
		"jwk.alg":     {empty: true, beyond: []any{"ES384", "none", "HS256", "es256"}},
		"jwk.use":     {empty: true, beyond: []any{"enc", "SIG"}},
		"jwk.kid":     {empty: true},
		"jwk.key_ops": {beyond: []any{[]string{"sign"}, []string{"verify", "sign"}, []string{"encrypt"}, []string{""}}},
		"jwk.ext":     {},
		"proof":       {required: true, beyond: []any{text(9000)}},
	})
	return rules
}

// key is the member's key with all that a JWK of one may say.
func (m *member) keyMembers() map[string]any {
	var key map[string]any
	if err := json.Unmarshal([]byte(m.public.JWK()), &key); err != nil {
		m.f.t.Fatal(err)
	}
	maps.Copy(key, map[string]any{"alg": "ES256", "use": "sig", "kid": "mine", "key_ops": []string{"verify"}, "ext": true})
	return key
}

func (f *fixture) operatorForms(ticket string, orchestrator *member) []form {
	workload := f.enrol(ticket)
	environment := map[string]any{}
	for _, name := range texts(maxClaimed + 1) {
		environment[name] = "x"
	}
	return []form{{
		name: "register", method: "POST", route: registerPath, path: always(registerPath), bearer: always(""),
		body: func() map[string]any {
			m := f.newMember()
			return map[string]any{"ticket": ticket, "jwk": m.keyMembers(), "proof": m.proof(ticket), "environment": map[string]any{"aws": "i-1"}}
		},
		into: []reflect.Type{reflect.TypeFor[registerRequest]()}, limit: maxRegisterBytes, accepted: 200,
		rules: keyRules(map[string]rule{
			"ticket": {required: true, beyond: []any{text(maxTicketLength + 1)}},
			"environment": {empty: true, free: true, beyond: []any{
				environment, map[string]any{text(maxClaimedName + 1): "x"}, map[string]any{"a": text(maxClaimedValue + 1)}, map[string]any{"": "x"},
				map[string]any{"a": 7}, map[string]any{"a": []string{}}, map[string]any{"a": map[string]any{}}, map[string]any{"a": "\x1b[31m"}, map[string]any{"a\n": "x"},
			}},
		}),
	}, {
		name: "id_token", method: "POST", route: idTokenPath, path: always(idTokenPath), bearer: func() string { return workload.assertion() },
		body: func() map[string]any { return map[string]any{"audience": []string{"a", "b"}, "ttl_seconds": 60} },
		into: []reflect.Type{reflect.TypeFor[idTokenRequest]()}, limit: maxIDTokenBytes, optional: true, accepted: 200,
		rules: map[string]rule{
			"audience":    {empty: true, beyond: []any{texts(maxAudiences + 1), []string{""}, []string{"a b"}, []string{"a\nb"}, []string{text(maxAudienceLength + 1)}}},
			"ttl_seconds": {beyond: []any{0, 172801, verbatim("9223372036854775807")}},
		},
	}, {
		name: "invite", method: "POST", route: invitePath, path: always(invitePath), bearer: func() string { return orchestrator.assertion() },
		body: func() map[string]any { return map[string]any{"ticket_factory_id": "ci"} },
		into: []reflect.Type{reflect.TypeFor[inviteRequest]()}, limit: maxInviteBytes, accepted: 200,
		rules: map[string]rule{"ticket_factory_id": {required: true, beyond: []any{text(64), "../ci", "CI", "\x1b[31m", "tf1:x"}}},
	}, f.keyForm(workload)}
}

// keyForm exchanges the workload's key by every request that is in order.
func (f *fixture) keyForm(workload *member) form {
	return form{
		name: "key", method: "POST", route: keyPath, path: always(keyPath), bearer: func() string { return workload.assertion() },
		body: func() map[string]any {
			return map[string]any{"jwk": workload.keyMembers(), "proof": workload.newKeyProof(workload.id)}
		},
		into: []reflect.Type{reflect.TypeFor[keyRequest]()}, limit: maxRegisterBytes, accepted: 200,
		rules: keyRules(map[string]rule{}),
	}
}

// spec is a full one of a kind, and what the API says of its members.
type spec struct {
	into  reflect.Type
	body  map[string]any
	rules map[string]rule
	// ofNew names what only a new one requires.
	ofNew []string
}

// specs are those of all kinds that can be declared.
func specs(ticket, workload string) map[string]spec {
	return map[string]spec{
		resource.KindTicket: {reflect.TypeFor[resource.TicketSpec](), map[string]any{
			"description": "d", "status": "active", "enrolment": "closed", "role": "agent", "expires_at": "2027-01-01T00:00:00Z", "max_uses": 5, "workload_ttl": "720h", "max_token_ttl": "1h",
			"tags": []string{"a", "b"}, "audiences": []string{"a", "b"}, "networks": []string{"public-access"},
		}, map[string]rule{
			"description": descriptionRule, "status": statusRule, "role": {empty: true, beyond: []any{"admin", text(1000)}}, "expires_at": expiryRule,
			"enrolment": {empty: true, beyond: []any{"ajar", "Open", text(1000)}},
			"max_uses":  usesRule, "workload_ttl": durationRule, "max_token_ttl": tokenLifeRule, "tags": tagsRule, "audiences": audiencesRule, "networks": networksRule,
		}, nil},
		resource.KindTicketFactory: {reflect.TypeFor[resource.TicketFactorySpec](), map[string]any{
			"description": "d", "status": "active", "minting": "closed", "orchestrators": []string{ticket, workload},
			"ticket": map[string]any{
				"description": "d", "role": "agent", "expires_in": "1h", "max_uses": 5, "workload_ttl": "720h", "max_token_ttl": "1h",
				"tags": []string{"a", "b"}, "audiences": []string{"a", "b"}, "networks": []string{"public-access"},
			},
		}, map[string]rule{
			"description": descriptionRule, "status": statusRule,
			"minting":            {empty: true, beyond: []any{"ajar", "Open", text(1000)}},
			"orchestrators":      {empty: true, beyond: []any{texts(maxOrchestrators + 1), []string{""}, []string{"nobody"}, []string{"A b"}, []string{text(64)}}},
			"ticket":             {empty: true},
			"ticket.description": descriptionRule, "ticket.role": {empty: true, beyond: []any{"orchestrator", "admin", text(1000)}},
			"ticket.expires_in": durationRule, "ticket.max_uses": usesRule, "ticket.workload_ttl": durationRule, "ticket.max_token_ttl": tokenLifeRule,
			"ticket.tags": tagsRule, "ticket.audiences": audiencesRule, "ticket.networks": networksRule,
		}, nil},
		resource.KindNetworkList: {reflect.TypeFor[resource.NetworkListSpec](), map[string]any{
			"description": "d", "cidrs": []string{"192.0.2.0/24", "2001:db8::/32"},
		}, map[string]rule{
			"description": descriptionRule,
			"cidrs":       {required: true, beyond: []any{slices.Repeat([]string{"192.0.2.1"}, maxCIDRs+1), []string{""}, []string{"192.0.2.1/24"}, []string{text(5000)}}},
		}, nil},
		resource.KindSecret: {reflect.TypeFor[resource.SecretSpec](), map[string]any{
			"description": "d", "content": "c", "tags": []string{"a", "b"}, "expires_at": "2027-01-01T00:00:00Z",
		}, map[string]rule{
			"description": descriptionRule, "content": {beyond: []any{text(maxSecretBytes + 1)}}, "tags": tagsRule, "expires_at": expiryRule,
		}, []string{"content"}},
		resource.KindAdminToken: {reflect.TypeFor[resource.AdminTokenSpec](), map[string]any{
			"description": "d", "role": "viewer", "expires_at": "2027-01-01T00:00:00Z",
		}, map[string]rule{
			"description": descriptionRule, "role": {empty: true, beyond: []any{"king", text(1000)}}, "expires_at": expiryRule,
		}, nil},
		resource.KindWorkload:   {reflect.TypeFor[resource.WorkloadSpec](), map[string]any{"status": "active"}, map[string]rule{"status": statusRule}, nil},
		resource.KindSigningKey: {into: reflect.TypeFor[resource.SigningKeySpec]()}, // nobody declares one
	}
}

// kindForms are the requests that declare a kind of resource: what is new, by POST
// and PUT, and what is there, by PUT and PATCH.
func (f *fixture) kindForms(t *testing.T, k resource.KindInfo, ticket, workload string) []form {
	t.Helper()
	s, known := specs(ticket, workload)[k.Kind]
	if !known {
		t.Fatalf("nothing says what the spec of %s looks like", k.Kind)
	}
	routes := f.routes().api
	_, creates := routes[k.Path][http.MethodPost]
	_, changes := routes[k.Path+"/{name}"][http.MethodPut]
	existing := "there"
	switch {
	case creates:
		f.send("POST", k.Path, "Bearer "+f.admin, map[string]any{"name": existing, "spec": s.body}).decode(t, 201, &resource.Any{})
	case changes:
		existing = workload // made by its enrolment
	}
	last := 0
	fresh := func() string { last++; return fmt.Sprint("new", last) }
	current := ""
	declare := func(method, variant string, accepted int, isNew bool, name func() string) form {
		rules := map[string]rule{"kind": {empty: true, beyond: []any{"Nonsense", strings.ToLower(k.Kind), text(1000)}}, "spec": {required: true, empty: true}}
		for member, r := range s.rules {
			r.required = r.required || isNew && slices.Contains(s.ofNew, member)
			if r.required && method != "PATCH" {
				rules["spec"] = rule{required: true, lacks: member}
			}
			rules["spec."+member] = r
		}
		rules["name"] = rule{empty: true, beyond: []any{"other", text(64)}}
		if method == "POST" {
			needed := k.Kind == resource.KindNetworkList // a list means nothing without a name
			rules["name"] = rule{required: needed, empty: !needed, beyond: []any{text(64), "A b", "-a", existing + "/x"}}
		}
		route := k.Path + "/{name}"
		if method == "POST" {
			route = k.Path
		}
		return form{
			name: k.Kind + " " + method + variant, method: method, route: route, bearer: always(f.admin),
			path: func() string { return strings.Replace(route, "{name}", current, 1) },
			body: func() map[string]any {
				current = name()
				return map[string]any{"kind": k.Kind, "name": current, "spec": cloned(s.body)}
			},
			into:  []reflect.Type{reflect.TypeFor[resource.Declaration[json.RawMessage]](), s.into},
			rules: rules, limit: maxAdminBytes, merges: method == "PATCH", accepted: accepted,
		}
	}
	var all []form
	if creates {
		all = append(all, declare("POST", "", 201, true, fresh), declare("PUT", " of a new one", 201, true, fresh))
	}
	if changes {
		all = append(all, declare("PUT", "", 200, false, always(existing)), declare("PATCH", "", 200, false, always(existing)))
	}
	return all
}

// cloned copies what a mutation may change.
func cloned(object map[string]any) map[string]any {
	object = maps.Clone(object)
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			object[name] = cloned(inner)
		}
	}
	return object
}

// verbForms are the requests that take a body with nothing in it. What they say to
// one in order is that it is too early, or that there is no such key.
func (f *fixture) verbForms() []form {
	verb := func(route string, accepted int) form {
		return form{
			name: "POST " + route, method: "POST", route: route, path: always(strings.Replace(route, "{name}", "none", 1)), bearer: always(f.admin),
			body: func() map[string]any { return map[string]any{} }, limit: maxAdminBytes, optional: true, accepted: accepted,
		}
	}
	return []form{verb(resource.SigningKeysPath+"/rotate", 409), verb(resource.SigningKeysPath+"/{name}/revoke", 404)}
}
