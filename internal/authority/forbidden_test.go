package authority

import (
	"encoding/json"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// TestWhatTheDocumentForbidsIsRefused: of bodies that are accepted, each member is put
// in place of by other values. That nothing succeeds which the document does not allow
// is checked by the fixture's client.
func TestWhatTheDocumentForbidsIsRefused(t *testing.T) {
	f := start(t)
	orchestrator := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator})
	m := f.enrol(orchestrator.Ticket)
	f.wants(201, "PUT", resource.TicketFactoriesPath+"/machines", map[string]any{"spec": resource.TicketFactorySpec{Orchestrators: []string{orchestrator.Name}}})
	f.wants(201, "PUT", resource.SecretsPath+"/there", `{"spec":{"content":"correct horse"}}`)
	template := map[string]any{"role": "agent", "expires_in": "1h", "max_uses": 1, "workload_ttl": "1h", "tags": []string{"a"}, "audiences": []string{"a"}, "networks": []string{"public-access"}}
	specs := map[string]map[string]any{
		resource.TicketsPath + "/a": {
			"description": "d", "status": "active", "role": "agent", "expires_at": "2026-12-31T00:00:00Z", "max_uses": 1, "workload_ttl": "1h",
			"tags": []string{"a"}, "audiences": []string{"a"}, "networks": []string{"public-access"},
		},
		resource.AdminTokensPath + "/a":     {"description": "d", "role": "viewer", "expires_at": "2026-12-31T00:00:00Z"},
		resource.NetworkListsPath + "/a":    {"description": "d", "cidrs": []string{"192.0.2.0/24"}},
		resource.TicketFactoriesPath + "/a": {"description": "d", "status": "active", "orchestrators": []string{m.id}, "ticket": template},
		resource.SecretsPath + "/there":     {"description": "d", "content": "c", "tags": []string{"a"}, "expires_at": "2026-12-31T00:00:00Z"},
		resource.WorkloadsPath + "/" + f.enrol(f.createTicket(resource.TicketSpec{}).Ticket).id: {"status": "deactivated"},
	}
	answers := map[string]map[int]int{} // by request, and by class of the status
	send := func(method, path, bearer string, body any) {
		status := f.send(method, path, bearer, body).status
		request := method + " " + path
		if answers[request] == nil {
			answers[request] = map[int]int{}
		}
		answers[request][status/100]++
	}
	for path, spec := range specs {
		for _, method := range []string{"PUT", "PATCH"} {
			for changed := range changes(map[string]any{"kind": "", "name": "", "spec": spec}) {
				send(method, path, f.asAdmin(), changed)
			}
		}
	}
	for changed := range changes(map[string]any{"audience": []string{"a"}, "ttl_seconds": 60}) {
		send("POST", idTokenPath, m.withAssertion(), changed)
	}
	for changed := range changes(map[string]any{"ticket_factory_id": "machines"}) {
		send("POST", invitePath, m.withAssertion(), changed)
	}
	var jwk map[string]any
	if err := json.Unmarshal([]byte(m.public.JWK()), &jwk); err != nil {
		t.Fatal(err)
	}
	registration := map[string]any{"ticket": orchestrator.Ticket, "jwk": jwk, "environment": map[string]any{"hostname": "here"}, "proof": ""}
	for changed := range changes(registration) {
		if changed["proof"] == "" {
			changed["proof"] = m.proof(orchestrator.Ticket)
		}
		send("POST", registerPath, "", changed)
	}
	for request, classes := range answers {
		if classes[2] == 0 || classes[4] == 0 || classes[5] > 0 {
			t.Errorf("%s: answers by class %v", request, classes)
		}
	}
}

// changes are the body as it is, and with each of its members left out, or with another
// value, and with one member more.
func changes(body map[string]any) iter.Seq[map[string]any] {
	others := []any{
		nil, "", "x", strings.Repeat("x", 300), 0, -1, 1.5, true, []any{}, []any{""}, []any{nil}, []any{"a", "a"}, map[string]any{}, map[string]any{"a": nil},
	}
	return func(yield func(map[string]any) bool) {
		with := func(name string, value any) bool {
			changed := maps.Clone(body)
			changed[name] = value
			return yield(changed)
		}
		if !yield(body) || !with("unknown", "x") {
			return
		}
		for name, value := range body {
			without := maps.Clone(body)
			delete(without, name)
			if !yield(without) {
				return
			}
			for _, other := range others {
				if !with(name, other) {
					return
				}
			}
			inner, _ := value.(map[string]any)
			if inner == nil {
				continue
			}
			for changed := range changes(inner) {
				if !with(name, changed) {
					return
				}
			}
		}
	}
}
