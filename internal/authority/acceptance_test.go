package authority

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/openapi/openapitest"
)

// allowedCall is a call with a body, ready to be made as often as there are bodies.
type allowedCall struct {
	path   string
	bearer func() string
	must   func() map[string]any // members whose values no schema can know, or that only words of the document demand
}

// TestWhatTheDocumentAllowsIsAccepted: the least that a body must have, and with it each
// other member as null wherever the document allows that.
func TestWhatTheDocumentAllowsIsAccepted(t *testing.T) {
	f := start(t)
	read := f.schemaReader()
	calls := f.allowedCalls()
	for _, operation := range f.promise.Operations {
		if operation.RequestBody == nil {
			continue
		}
		schema := read.parse(operation.RequestBody.Content["application/json"].Schema)
		if len(read.properties(schema)) == 0 {
			continue // nothing can be sent
		}
		t.Run(operation.ID, func(t *testing.T) {
			call, prepared := calls[operation.ID]
			if !prepared {
				t.Fatal("is not tried")
			}
			f.trial(t, operation, call, read.smallest(schema, call.must()))
			for _, null := range read.nulls("", schema) {
				if slices.Contains(members("", call.must(), nil), null) {
					continue // in words the document wants it
				}
				body := read.smallest(schema, call.must())
				setNull(body, null)
				f.trial(t, operation, call, body)
			}
		})
	}
}

func (f *fixture) trial(t *testing.T, operation *openapitest.Operation, call allowedCall, body map[string]any) {
	t.Helper()
	got := f.send(operation.Method, call.path, call.bearer(), body)
	if got.status/100 != 2 {
		t.Errorf("%s is answered with %d %s", render(body), got.status, got.body)
	}
	if name := got.header.Get("Location"); got.status == http.StatusCreated && name != "" {
		f.wants(http.StatusNoContent, "DELETE", strings.TrimPrefix(name, f.base), nil)
	}
}

// allowedCalls are all calls with a body, by their ids in the document.
func (f *fixture) allowedCalls() map[string]allowedCall {
	nothing := func() map[string]any { return map[string]any{} }
	ticket := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator})
	m := f.enrol(ticket.Ticket)
	f.wants(201, "PUT", resource.TicketFactoriesPath+"/build-machines", map[string]any{"spec": resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}}})
	calls := map[string]allowedCall{
		"register":     {registerPath, func() string { return "" }, func() map[string]any { return f.newMember().registration(ticket.Ticket) }},
		"issueIdToken": {idTokenPath, m.withAssertion, nothing},
		"invite":       {invitePath, m.withAssertion, nothing},
		"replaceKey":   {keyPath, m.withAssertion, func() map[string]any { return m.keyRequest() }},
	}
	for kind, made := range map[string]struct{ path, spec, ofNew string }{
		resource.KindTicket:        {resource.TicketsPath, `{}`, `{}`},
		resource.KindAdminToken:    {resource.AdminTokensPath, `{}`, `{}`},
		resource.KindNetworkList:   {resource.NetworkListsPath, `{"cidrs":["::1"]}`, `{"name":"chosen"}`}, // as Names says
		resource.KindTicketFactory: {resource.TicketFactoriesPath, `{}`, `{}`},
		resource.KindSecret:        {resource.SecretsPath, `{"content":"x"}`, `{"spec":{"content":"x"}}`}, // as its description says
	} {
		f.wants(201, "PUT", made.path+"/there", `{"spec":`+made.spec+`}`)
		calls["create"+kind] = allowedCall{made.path, f.asAdmin, func() map[string]any { return object(f.t, made.ofNew) }}
		calls["put"+kind] = allowedCall{made.path + "/there", f.asAdmin, nothing}
		calls["patch"+kind] = calls["put"+kind]
	}
	workload := allowedCall{resource.WorkloadsPath + "/" + m.id, f.asAdmin, nothing}
	calls["put"+resource.KindWorkload], calls["patch"+resource.KindWorkload] = workload, workload
	return calls
}

// object parses JSON.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// schemaReader finds out by the document's schemas what can be sent.
type schemaReader struct {
	t     testing.TB
	named map[string]any
}

func (f *fixture) schemaReader() schemaReader {
	document := object(f.t, string(f.describedBy().text))
	return schemaReader{f.t, document["components"].(map[string]any)["schemas"].(map[string]any)}
}

func (s schemaReader) parse(text []byte) map[string]any {
	return s.resolved(object(s.t, string(text)))
}

// resolved follows a reference, and goes into what may be null too.
func (s schemaReader) resolved(schema map[string]any) map[string]any {
	if name, refers := schema["$ref"].(string); refers {
		named := s.named[name[strings.LastIndex(name, "/")+1:]].(map[string]any)
		schema = maps.Clone(schema)
		delete(schema, "$ref")
		merged := maps.Clone(named)
		maps.Copy(merged, schema)
		return s.resolved(merged)
	}
	if either, optional := schema["anyOf"].([]any); optional {
		return s.resolved(either[0].(map[string]any))
	}
	return schema
}

func (s schemaReader) properties(schema map[string]any) map[string]any {
	members, _ := s.resolved(schema)["properties"].(map[string]any)
	return members
}

func (s schemaReader) required(schema map[string]any) []any {
	names, _ := s.resolved(schema)["required"].([]any)
	return names
}

// smallest is a body with the members that must be there, those of given among them.
// Others are as in the first example.
func (s schemaReader) smallest(schema map[string]any, given map[string]any) map[string]any {
	example := map[string]any{}
	if all, _ := s.resolved(schema)["examples"].([]any); len(all) > 0 {
		example = all[0].(map[string]any)
	}
	body := object(s.t, render(given))
	for _, name := range s.required(schema) {
		name := name.(string)
		member := s.properties(schema)[name].(map[string]any)
		_, isGiven := body[name]
		switch inner, isObject := body[name].(map[string]any); {
		case len(s.properties(member)) > 0 && (isObject || !isGiven):
			body[name] = s.smallest(member, inner)
		case !isGiven && example[name] == nil:
			s.t.Fatalf("no example has %s", name)
		case !isGiven:
			body[name] = example[name]
		}
	}
	return body
}

// nulls are the paths, in dots, of the members that may be null, also of those in others.
func (s schemaReader) nulls(prefix string, schema map[string]any) []string {
	var all []string
	for name, member := range s.properties(schema) {
		member := member.(map[string]any)
		if !slices.Contains(s.required(schema), any(name)) && s.takesNull(member) {
			all = append(all, prefix+name)
		}
		all = append(all, s.nulls(prefix+name+".", member)...)
	}
	slices.Sort(all)
	return all
}

func (s schemaReader) takesNull(schema map[string]any) bool {
	either, _ := schema["anyOf"].([]any)
	for _, one := range either {
		if s.takesNull(one.(map[string]any)) {
			return true
		}
	}
	schema = s.resolved(schema)
	types, _ := schema["type"].([]any)
	values, _ := schema["enum"].([]any)
	return schema["type"] == "null" || slices.Contains(types, any("null")) || slices.Contains(values, nil)
}

// setNull makes the member null, and what it is in if that is not there.
func setNull(body map[string]any, path string) {
	for {
		outer, rest, inner := strings.Cut(path, ".")
		if !inner {
			body[outer] = nil
			return
		}
		if _, there := body[outer].(map[string]any); !there {
			body[outer] = map[string]any{}
		}
		body, path = body[outer].(map[string]any), rest
	}
}
