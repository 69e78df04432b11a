package authority

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
)

// unseen says which statuses of the document no test brings about, with the reason.
func unseen(operation string, status int) (reason string) {
	switch {
	case status != 503 || operation == "getReadiness" || operation == "listActivity" || operation == "verifyActivity":
		return ""
	}
	return "the store refuses only while the authority stops, with a million JWT ids to remember, or where its storage fails"
}

// TestEveryOperationAnswersAsTheDocumentSays: each operation is asked so that it
// succeeds, and so that it refuses in every way that the document has. What is said on
// the wire is checked by the fixtures' clients.
func TestEveryOperationAnswersAsTheDocumentSays(t *testing.T) {
	f := startIssuer(t, "")
	for _, drive := range []func(*fixture){
		driveOpenPaths, driveKinds, driveConflicts, driveWorkloads, driveSigningKeys, driveActivity,
		driveEnrolment, driveIDTokens, driveInvites, driveKeys, driveSecrets,
	} {
		drive(f)
	}
	all := []*fixture{f, driveTooMany(t), driveInternal(t), driveUnready(t)}
	for _, operation := range f.promise.Operations {
		for _, status := range operation.Statuses {
			saw := slices.ContainsFunc(all, func(f *fixture) bool { return f.seen[operation.ID][status] })
			if reason := unseen(operation.ID, status); saw == (reason != "") {
				t.Errorf("%s (%s): seen with %d is %t; reason not to: %q", operation, operation.ID, status, saw, reason)
			}
		}
	}
}

// wants asks as the administrator.
func (f *fixture) wants(status int, method, path string, body any, fields ...string) {
	f.t.Helper()
	f.expect(status, method, path, "Bearer "+f.admin, body, fields...)
}

func (f *fixture) expect(status int, method, path, authorization string, body any, fields ...string) {
	f.t.Helper()
	if got := f.send(method, path, authorization, body, fields...); got.status != status {
		f.t.Errorf("%s %s: %d, want %d: %s", method, path, got.status, status, got.body)
	}
}

// refusesBodies sends what is no body of a request. bearer makes a credential for each.
func (f *fixture) refusesBodies(method, path string, bearer func() string) {
	f.t.Helper()
	f.expect(400, method, path, bearer(), "nonsense")
	f.expect(413, method, path, bearer(), strings.Repeat(" ", maxAdminBytes+1))
	f.expect(415, method, path, bearer(), "{}", "Content-Type", "text/plain")
}

func (f *fixture) asAdmin() string { return "Bearer " + f.admin }

func driveOpenPaths(f *fixture) {
	for _, path := range []string{documentPath, jwksPath, discoveryPath, issuerKeysPath, "/healthz", "/readyz", "/metrics"} {
		f.expect(200, "GET", path, "", nil)
		f.expect(200, "HEAD", path, "", nil)
		f.expect(405, "POST", path, "", "{}")
	}
	f.expect(304, "GET", documentPath, "", nil, "If-None-Match", "*")
	f.expect(404, "GET", "/admin/v1", "", nil)
}

// viewer is the credential of an administrator who may change nothing.
func (f *fixture) viewer() string {
	f.t.Helper()
	var token resource.AdminToken
	f.send("POST", resource.AdminTokensPath, f.asAdmin(), `{"spec":{}}`).decode(f.t, 201, &token)
	f.secrets = append(f.secrets, token.Token)
	return "Bearer " + token.Token
}

// driveKinds drives what all kinds that can be declared have alike.
func driveKinds(f *fixture) {
	viewer := f.viewer()
	for kind, spec := range map[string]string{
		resource.TicketsPath:         `{"tags":["a"],"workload_ttl":"1h"}`,
		resource.AdminTokensPath:     `{"expires_at":"2026-12-31T00:00:00Z"}`,
		resource.NetworkListsPath:    `{"cidrs":["192.0.2.0/24"]}`,
		resource.TicketFactoriesPath: `{"ticket":{"expires_in":"10m"}}`,
		resource.SecretsPath:         `{"content":"correct horse"}`,
	} {
		declaration := `{"spec":` + spec + `}`
		f.wants(201, "POST", kind, `{"name":"first","spec":`+spec+`}`)
		f.wants(409, "POST", kind, `{"name":"first","spec":`+spec+`}`)
		f.expect(401, "POST", kind, "", declaration)
		f.expect(403, "POST", kind, viewer, declaration)
		f.refusesBodies("POST", kind, f.asAdmin)
		f.wants(200, "GET", kind+"?limit=1", nil)
		f.wants(200, "GET", kind+"?limit=2&after=first", nil)
		f.wants(400, "GET", kind+"?limit=0", nil)
		f.expect(401, "GET", kind, "", nil)
		f.wants(201, "PUT", kind+"/second", declaration, "If-None-Match", "*")
		f.driveOne(kind+"/second", declaration, viewer)
		f.wants(400, "DELETE", kind+"/second", nil, "If-Match", "0")
		f.wants(412, "DELETE", kind+"/second", nil, "If-Match", `"0"`)
		f.expect(401, "DELETE", kind+"/second", "", nil)
		f.expect(403, "DELETE", kind+"/second", viewer, nil)
		f.wants(204, "DELETE", kind+"/second", nil)
		f.wants(404, "DELETE", kind+"/second", nil)
	}
}

// driveOne looks at and changes what is there.
func (f *fixture) driveOne(path, declaration, viewer string) {
	f.wants(200, "GET", path, nil)
	f.expect(401, "GET", path, "", nil)
	f.wants(404, "GET", path+"x", nil)
	for method, body := range map[string]string{"PUT": declaration, "PATCH": `{"spec":{}}`} {
		f.wants(200, method, path, body, "If-Match", "*")
		f.wants(412, method, path, body, "If-Match", `"0"`)
		f.expect(401, method, path, "", body)
		f.expect(403, method, path, viewer, body)
		f.refusesBodies(method, path, f.asAdmin)
	}
	f.wants(200, "PATCH", path, `{"spec":{}}`, "Content-Type", "application/merge-patch+json")
	f.wants(415, "PUT", path, declaration, "Content-Type", "application/merge-patch+json")
	f.wants(404, "PATCH", path+"x", `{"spec":{}}`)
}

// driveConflicts asks for what something else stands in the way of.
func driveConflicts(f *fixture) {
	list := resource.NetworkListsPath + "/" + resource.PublicAccess
	f.wants(409, "PUT", list, `{"spec":{"cidrs":["::/0"]}}`)
	f.wants(409, "PATCH", list, `{"spec":{"cidrs":["::/0"]}}`)
	f.wants(409, "DELETE", list, nil)
	var tokens resource.Page[resource.AdminToken]
	f.send("GET", resource.AdminTokensPath, f.asAdmin(), nil).decode(f.t, 200, &tokens)
	i := slices.IndexFunc(tokens.Items, func(token resource.AdminToken) bool { return token.Spec.Role == resource.RoleAdmin })
	last := resource.AdminTokensPath + "/" + url.PathEscape(tokens.Items[i].Name)
	f.wants(409, "PUT", last, `{"spec":{"role":"viewer"}}`)
	f.wants(409, "PATCH", last, `{"spec":{"role":"viewer"}}`)
	f.wants(409, "DELETE", last, nil)
	ticket := f.createTicket(resource.TicketSpec{})
	f.enrol(ticket.Ticket)
	f.wants(409, "DELETE", resource.TicketsPath+"/"+ticket.Name, nil)
}

func driveWorkloads(f *fixture) {
	viewer := f.viewer()
	m := f.newMember()
	registration := m.registration(f.createTicket(resource.TicketSpec{WorkloadTTL: "1h", Tags: []string{"a"}}).Ticket)
	registration["environment"] = map[string]string{"hostname": "here"}
	var got registerResponse
	f.send("POST", registerPath, "", registration).decode(f.t, 200, &got)
	f.wants(200, "GET", resource.WorkloadsPath, nil)
	f.wants(400, "GET", resource.WorkloadsPath+"?limit=0", nil)
	f.expect(401, "GET", resource.WorkloadsPath, "", nil)
	path := resource.WorkloadsPath + "/" + got.WorkloadID
	f.driveOne(path, `{"spec":{"status":"deactivated"}}`, viewer)
	f.wants(404, "PUT", path+"x", `{"spec":{}}`)
	f.wants(405, "DELETE", path, nil)
}

func driveSigningKeys(f *fixture) {
	viewer := f.viewer()
	f.wants(200, "GET", resource.SigningKeysPath, nil)
	f.wants(400, "GET", resource.SigningKeysPath+"?limit=0", nil)
	f.expect(401, "GET", resource.SigningKeysPath, "", nil)
	rotate := resource.SigningKeysPath + "/rotate"
	f.wants(409, "POST", rotate, nil)
	f.clock.Advance(keyring.PublishAhead)
	var key resource.SigningKey
	f.send("POST", rotate, f.asAdmin(), `{}`).decode(f.t, 200, &key)
	one := resource.SigningKeysPath + "/" + key.Name
	f.wants(200, "GET", one, nil)
	f.expect(401, "GET", one, "", nil)
	f.wants(404, "GET", one+"x", nil)
	f.wants(200, "POST", one+"/revoke", nil)
	f.wants(404, "POST", one+"x/revoke", nil)
	f.wants(200, "GET", resource.SigningKeysPath, nil)
	for _, path := range []string{rotate, one + "/revoke"} {
		f.expect(401, "POST", path, "", nil)
		f.expect(403, "POST", path, viewer, nil)
		f.refusesBodies("POST", path, f.asAdmin)
	}
}

func driveActivity(f *fixture) {
	f.wants(200, "GET", resource.ActivityPath+"?limit=2", nil)
	f.wants(200, "GET", resource.ActivityPath+"?kind=ticket.create&outcome=allowed&workload=w&ticket=t&admin=a&source=127.0.0.1&before=9&after=0", nil)
	f.wants(200, "GET", resource.ActivityPath+"?format=jsonl&since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", nil)
	f.wants(200, "GET", resource.ActivityPath, nil, "Accept", resource.MediaTypeLines)
	f.wants(200, "GET", resource.ActivityVerifyPath, nil)
	for i := range maxStreams { // as many clients that follow
		if err := f.streams.places.enter(fmt.Sprint(i)); err != nil {
			f.t.Fatal(err)
		}
	}
	f.wants(503, "GET", resource.ActivityPath+"?format=jsonl", nil)
	f.wants(503, "GET", resource.ActivityVerifyPath, nil)
	for i := range maxStreams {
		f.streams.places.leave(fmt.Sprint(i))
	}
	for _, path := range []string{resource.ActivityPath, resource.ActivityVerifyPath} {
		f.wants(400, "GET", path+"?x=1", nil)
		f.expect(401, "GET", path, "", nil)
	}
}

func driveEnrolment(f *fixture) {
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.newMember()
	f.expect(200, "POST", registerPath, "", m.registration(ticket.Ticket))
	f.expect(401, "POST", registerPath, "", m.registration("lyt_none"))
	f.refusesBodies("POST", registerPath, func() string { return "" })
}

// withAssertion is the credential of a workload for one request.
func (m *member) withAssertion() string { return "Bearer " + m.assertion() }

// driveRefusals sees that a workload without an assertion, or of a ticket that was
// deactivated, gets nothing.
func (f *fixture) driveRefusals(method, path string, body any) {
	f.t.Helper()
	f.expect(401, method, path, "Bearer nonsense", body)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	f.setStatus(ticket, resource.StatusDeactivated)
	f.expect(403, method, path, m.withAssertion(), body)
}

func driveIDTokens(f *fixture) {
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	for _, body := range []any{nil, `{}`, `{"audience":["https://ledger.internal"],"ttl_seconds":60}`, `{"audience":null,"ttl_seconds":null}`} {
		f.expect(200, "POST", idTokenPath, m.withAssertion(), body)
	}
	f.refusesBodies("POST", idTokenPath, m.withAssertion)
	f.driveRefusals("POST", idTokenPath, nil)
}

func driveInvites(f *fixture) {
	ticket := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator})
	m := f.enrol(ticket.Ticket)
	f.wants(201, "PUT", resource.TicketFactoriesPath+"/machines", map[string]any{"spec": resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}}})
	var made inviteResponse
	f.send("POST", invitePath, m.withAssertion(), `{"ticket_factory_id":"machines"}`).decode(f.t, 200, &made)
	f.secrets = append(f.secrets, made.Ticket)
	f.expect(404, "POST", invitePath, m.withAssertion(), `{"ticket_factory_id":"others"}`)
	f.refusesBodies("POST", invitePath, m.withAssertion)
	f.driveRefusals("POST", invitePath, `{"ticket_factory_id":"machines"}`)
}

func driveKeys(f *fixture) {
	ticket := f.createTicket(resource.TicketSpec{}).Ticket
	m, other := f.enrol(ticket), f.enrol(ticket)
	next := m.successor()
	other.id = m.id
	f.expect(409, "POST", keyPath, m.withAssertion(), other.keyRequest())
	f.refusesBodies("POST", keyPath, m.withAssertion)
	f.driveRefusals("POST", keyPath, next.keyRequest())
	f.expect(200, "POST", keyPath, m.withAssertion(), next.keyRequest())
}

func driveSecrets(f *fixture) {
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	path := strings.Replace(secretPath, "{id}", "password", 1)
	f.wants(201, "PUT", resource.SecretsPath+"/password", `{"spec":{"content":"correct horse"}}`)
	f.expect(200, "GET", path, m.withAssertion(), nil)
	f.wants(200, "PATCH", resource.SecretsPath+"/password", `{"spec":{"expires_at":"2027-01-01T00:00:00Z"}}`)
	f.expect(200, "GET", path, m.withAssertion(), nil)
	f.expect(404, "GET", path+"x", m.withAssertion(), nil)
	f.driveRefusals("GET", path, nil)
}

// driveTooMany asks everything from an address that has used up its requests.
func driveTooMany(t *testing.T) *fixture {
	f := start(t, func(c *Config) { c.RatePerSecond, c.RateBurst = 0.001, 1 })
	f.config.Issuer = f.base
	f.restart()
	f.expect(200, "GET", jwksPath, "", nil)
	for _, operation := range f.promise.Operations {
		if slices.Contains(operation.Statuses, 429) {
			f.expect(429, operation.Method, filledIn(operation.Path), "", nil)
		}
	}
	return f
}

// driveInternal asks everything of an authority whose database lacks tables.
func driveInternal(t *testing.T) *fixture {
	f := start(t)
	f.clock.Advance(time.Minute)
	ticket := f.createTicket(resource.TicketSpec{}).Ticket
	m, stranger := f.enrol(ticket), f.newMember()
	f.rawExec("DROP TABLE admin_tokens", "DROP TABLE workloads", "DROP TABLE tickets")
	for _, operation := range f.promise.Operations {
		if !slices.Contains(operation.Statuses, 500) {
			continue
		}
		var body any
		bearer := f.asAdmin()
		if strings.HasPrefix(operation.Path, operatorPath) {
			bearer = m.withAssertion()
		}
		if operation.Path == registerPath {
			body, bearer = stranger.registration(ticket), ""
		}
		f.expect(500, operation.Method, filledIn(operation.Path), bearer, body)
	}
	return f
}

func driveUnready(t *testing.T) *fixture {
	f := start(t)
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	f.expect(503, "GET", "/readyz", "", nil)
	f.expect(200, "GET", "/healthz", "", nil)
	return f
}

func filledIn(template string) string {
	return strings.NewReplacer("{name}", "something", "{id}", "something").Replace(template)
}
