package authority

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

const secretContent = "correct horse <battery> staple \u00fc"

func (f *fixture) createSecret(name, content string, tags ...string) resource.Secret {
	f.t.Helper()
	var made resource.Secret
	f.send("PUT", resource.SecretsPath+"/"+name, "Bearer "+f.admin, map[string]any{"spec": map[string]any{"content": content, "tags": tags}}).decode(f.t, 201, &made)
	f.secrets = append(f.secrets, content)
	return made
}

func (m *member) secret(id string) answer {
	m.f.t.Helper()
	return m.f.send("GET", strings.Replace(secretPath, "{id}", id, 1), "Bearer "+m.assertion(), nil)
}

// TestSecretsAreWriteOnly: security.md 28; the content is in no answer to an
// administrator, no event, no log line, and on the disk only sealed.
func TestSecretsAreWriteOnly(t *testing.T) {
	f := start(t)
	contents := []string{"first-content-of-it", "second-content-of-it", "third-content-of-it"}
	f.secrets = append(f.secrets, contents...)
	path := resource.SecretsPath + "/db"
	answers := []answer{
		f.send("POST", resource.SecretsPath, "Bearer "+f.admin, `{"name":"db","spec":{"content":"`+contents[0]+`","description":"d"}}`),
		f.send("PUT", path, "Bearer "+f.admin, `{"spec":{"content":"`+contents[1]+`","tags":["a"]}}`),
		f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"content":"`+contents[2]+`"}}`),
		f.send("GET", path, "Bearer "+f.admin, nil),
		f.send("GET", resource.SecretsPath, "Bearer "+f.admin, nil),
	}
	for i, want := range []int{201, 200, 200, 200, 200} {
		if answers[i].status != want {
			t.Errorf("%d: %d %s", i, answers[i].status, answers[i].body)
		}
	}
	for _, bad := range []string{
		`{"spec":{"content":"` + contents[0] + `","tags":[""]}}`, `{"spec":{"content":["` + contents[0] + `"]}}`,
		`{"spec":{"content":"` + contents[0] + `","content":"` + contents[1] + `"}}`, `{"spec":{"content":"` + contents[0] + `}}`,
		`{"spec":{"contents":"` + contents[0] + `"}}`, `{"spec":"` + contents[0] + `"}`,
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			got := f.send(method, path, "Bearer "+f.admin, bad)
			got.refused(t, 400)
			answers = append(answers, got)
		}
	}
	m := f.enrol(f.createTicket(resource.TicketSpec{Tags: []string{"a"}}).Ticket)
	if got := m.secret("db"); !strings.Contains(got.body, contents[2]) {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	answers = append(answers, f.send("GET", resource.ActivityPath+"?format=jsonl", "Bearer "+f.admin, nil), f.send("GET", "/metrics", "", nil))
	for _, got := range answers {
		for _, content := range contents {
			if strings.Contains(got.body, content) {
				t.Errorf("an answer holds the content: %s", got.body)
			}
		}
	}
	var change string
	for _, e := range f.events() {
		if e.Kind == "secret.change" {
			change = e.Resource + " " + e.Reason
			break
		}
	}
	if change != "Secret/db changed content" {
		t.Errorf("event of the change: %q", change)
	}
	err := fs.WalkDir(os.DirFS(f.config.DataDir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(f.config.DataDir, path))
		for _, content := range contents {
			if strings.Contains(string(data), content) {
				t.Errorf("%s holds the content", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecretLife(t *testing.T) {
	f := start(t)
	var made resource.Secret
	f.send("POST", resource.SecretsPath, "Bearer "+f.admin, `{"spec":{"content":"x","description":"d","tags":["a"],"expires_at":"2026-03-04T06:06:07Z"}}`).decode(t, 201, &made)
	expires := startTime.Add(time.Hour)
	want := resource.Secret{Kind: "Secret", Name: made.Name,
		Spec:   resource.SecretSpec{Description: "d", Tags: []string{"a"}, ExpiresAt: &expires},
		Status: resource.SecretStatus{State: "active", CreatedAt: startTime, UpdatedAt: startTime}}
	if !reflect.DeepEqual(made, want) || !hasForm(made.Name, "sc1:", 24) {
		t.Errorf("%+v", made)
	}
	m := f.enrol(f.createTicket(resource.TicketSpec{Tags: []string{"a"}}).Ticket)
	reads := func(want string) {
		t.Helper()
		var got secretResponse
		m.secret(made.Name).decode(t, 200, &got)
		if got.Content != want {
			t.Errorf("content %q, want %q", got.Content, want)
		}
	}
	path := resource.SecretsPath + "/" + made.Name
	change := func(method, body string) {
		t.Helper()
		f.send(method, path, "Bearer "+f.admin, body).decode(t, 200, &resource.Secret{})
	}
	reads("x")
	change("PATCH", `{"spec":{"description":"e"}}`)
	reads("x")
	change("PATCH", `{"spec":{"content":null}}`)
	reads("x")
	change("PUT", `{"spec":{"tags":["a"],"expires_at":"2026-03-04T06:06:07Z"}}`)
	reads("x")
	change("PATCH", `{"spec":{"content":"y"}}`)
	reads("y")
	f.restart()
	reads("y")
	f.clock.Advance(time.Hour)
	m.secret(made.Name).refused(t, 404)
	change("PATCH", `{"spec":{"expires_at":null}}`)
	reads("y")
	if got := f.send("DELETE", path, "Bearer "+f.admin, nil); got.status != 204 {
		t.Errorf("delete: %d", got.status)
	}
	m.secret(made.Name).refused(t, 404)
}

func TestSecretSpecs(t *testing.T) {
	f := start(t)
	for name, tt := range map[string]struct{ spec, says string }{
		"no content":       {`{}`, "content"},
		"content empty":    {`{"content":""}`, "content"},
		"content null":     {`{"content":null}`, "content"},
		"content a number": {`{"content":1}`, "content"},
		"content too long": {`{"content":"` + strings.Repeat("a", maxSecretBytes+1) + `"}`, "content"},
		"tag twice":        {`{"content":"x","tags":["a","a"]}`, "tags"},
		"description":      {`{"content":"x","description":"a\nb"}`, "description"},
		"expired":          {`{"content":"x","expires_at":"2026-03-04T05:06:07Z"}`, "expires_at"},
		"unknown member":   {`{"content":"x","value":"y"}`, "value"},
	} {
		t.Run(name, func(t *testing.T) {
			message := f.send("POST", resource.SecretsPath, "Bearer "+f.admin, `{"spec":`+tt.spec+`}`).refused(t, 400)
			if !strings.Contains(message, tt.says) {
				t.Errorf("message %q does not say %q", message, tt.says)
			}
		})
	}
	f.createSecret("longest", strings.Repeat("a", maxSecretBytes))
	f.send("PATCH", resource.SecretsPath+"/longest", "Bearer "+f.admin, `{"spec":{"content":""}}`).refused(t, 400)
}

// TestReadingASecret: every tag of it, not expired, and all controls.
func TestReadingASecret(t *testing.T) {
	f := start(t)
	f.createSecret("both", secretContent, "a", "b")
	f.createSecret("free", "for everybody")
	both := f.createTicket(resource.TicketSpec{Tags: []string{"b", "c", "a"}, WorkloadTTL: "1h"})
	m, other := f.enrol(both.Ticket), f.enrol(f.createTicket(resource.TicketSpec{Tags: []string{"a", "B"}}).Ticket)
	got := m.secret("both")
	if want := `{"id":"both","content":"correct horse \u003cbattery\u003e staple ü","created_at":"2026-03-04T05:06:07Z","expires_at":null,"description":""}` + "\n"; got.body != want || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	newest := func(allowed bool, resource, reason string) {
		t.Helper()
		e := f.events()[0]
		if e.Kind != kindSecret || e.Allowed != allowed || e.Resource != resource || !strings.Contains(e.Reason, reason) || e.WorkloadID == "" || e.TicketID == "" || e.Source == "" {
			t.Errorf("event %+v", e)
		}
	}
	newest(true, "Secret/both", "")
	other.secret("free").decode(t, 200, &secretResponse{})

	// What one may not read is as if it were not there.
	none := other.secret("none")
	newest(false, "Secret/none", "no such secret")
	none.refused(t, 404)
	lacking := other.secret("both")
	newest(false, "Secret/both", "lacks b")
	f.send("PATCH", resource.SecretsPath+"/free", "Bearer "+f.admin, `{"spec":{"expires_at":"2026-03-04T05:06:08Z"}}`).decode(t, 200, &resource.Secret{})
	f.clock.Advance(time.Second)
	expired := other.secret("free")
	newest(false, "Secret/free", "expired")
	noName := other.secret("..%2F" + strings.Repeat("A", 500))
	newest(false, "", "no such secret")
	for what, got := range map[string]answer{"lacking": lacking, "expired": expired, "no name": noName} {
		if got.same() != none.same() {
			t.Errorf("%s is told from none: %s, %s", what, got.same(), none.same())
		}
	}

	// Controls first: what they refuse learns nothing of secrets.
	f.clock.Advance(time.Hour)
	for _, id := range []string{"both", "none"} {
		if message := m.secret(id).refused(t, 403); !strings.Contains(message, "workload_ttl") {
			t.Errorf("message %q", message)
		}
		newest(false, "Secret/"+id, "workload_ttl")
	}
	f.setStatus(both, resource.StatusDeactivated)
	if message := m.secret("both").refused(t, 403); !strings.Contains(message, "status") {
		t.Errorf("message %q", message)
	}
}

// TestChangedTagsCountAtOnce: tags are the ticket's of now.
func TestChangedTagsCountAtOnce(t *testing.T) {
	f := start(t)
	f.createSecret("s", secretContent, "a")
	ticket := f.createTicket(resource.TicketSpec{Tags: []string{"a"}})
	m := f.enrol(ticket.Ticket)
	m.secret("s").decode(t, 200, &secretResponse{})
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, "Bearer "+f.admin, `{"spec":{"tags":[]}}`).decode(t, 200, &resource.Ticket{})
	m.secret("s").refused(t, 404)
}

// TestNoSecretWithoutItsEvent, nor twice for one assertion.
func TestNoSecretWithoutItsEvent(t *testing.T) {
	f := start(t)
	f.createSecret("s", secretContent)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	path, bearer := strings.Replace(secretPath, "{id}", "s", 1), "Bearer "+m.assertion()
	f.rawExec("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
	if got := f.send("GET", path, bearer, nil); got.status != 500 || strings.Contains(got.body, "horse") {
		t.Errorf("without room: %d %s", got.status, got.body)
	}
	f.rawExec("DROP TRIGGER full")
	f.send("GET", path, bearer, nil).decode(t, 200, &secretResponse{}) // it was not spent
	f.send("GET", path, bearer, nil).refused(t, 401)
	if newest := f.events()[0]; newest.Allowed || newest.Kind != kindSecret {
		t.Errorf("event %+v", newest)
	}
}

// TestASealedSecretBelongsToItsRow: somebody who can write the database cannot have
// one secret served as another.
func TestASealedSecretBelongsToItsRow(t *testing.T) {
	f := start(t)
	f.createSecret("guarded", secretContent, "a")
	f.createSecret("free", "for everybody")
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	f.rawExec("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE id = 'guarded') WHERE id = 'free'")
	if message := m.secret("free").refused(t, 500); strings.Contains(message, "seal") {
		t.Errorf("message %q", message)
	}
	if !strings.Contains(f.logs.String(), "open secret free") {
		t.Error("the log does not say why")
	}
}
