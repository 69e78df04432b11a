package authority

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// query is a query that is refused, and what the message names.
type query struct{ text, names string }

// refusedQueries are those of a listing with the parameters that it knows.
func refusedQueries(known ...string) []query {
	all := []query{
		{"nonsense=1", "nonsense"}, {"Limit=1", "Limit"}, {"limit[]=1", "limit[]"}, {"%zz=1", "query"}, {"limit=%zz", "query"}, {"limit=1;after=x", "query"},
		{"limit", "limit"}, {"limit=", "limit"}, {"limit=0", "limit"}, {"limit=-1", "limit"}, {"limit=x", "limit"}, {"limit=1.5", "limit"}, {"limit=1e2", "limit"},
		{"limit=201", "limit"}, {"limit=9223372036854775808", "limit"}, {"limit=%201", "limit"}, {"%ff=1", "query"}, {strings.Repeat("n", 2000) + "=1", "nnnn"},
	}
	for _, name := range known {
		all = append(all, query{name + "=a&" + name + "=a", name}, query{name + "=" + text(maxFilter+1), name})
	}
	return all
}

// TestEveryQuery of every listing that has parameters.
func TestEveryQuery(t *testing.T) {
	f := start(t)
	watch := f.watch(t)
	refused := func(path string, queries []query) {
		t.Helper()
		for _, q := range queries {
			before := watch.version()
			got := f.send("GET", path+"?"+q.text, "Bearer "+f.admin, nil)
			if got.status != 400 {
				t.Errorf("%s?%.60s: %d %.100s", path, q.text, got.status, got.body)
				continue
			}
			if message := got.refused(t, 400); !strings.Contains(message, q.names) || len(message) > 300 {
				t.Errorf("%s?%.60s: message %q does not name %s", path, q.text, message, q.names)
			}
			if watch.version() != before {
				t.Errorf("%s?%.60s: something was written", path, q.text)
			}
		}
	}
	for _, k := range resource.Kinds() {
		refused(k.Path, refusedQueries("limit", "after"))
		// What no name can be is before or after all names, and no more than that.
		for _, after := range []string{"", "%00", "%ff", "'", "%25", "..%2F", text(maxFilter)} {
			f.send("GET", k.Path+"?limit=1&after="+after, "Bearer "+f.admin, nil).decode(t, 200, &resource.Page[resource.Any]{})
		}
	}
	known := []string{"kind", "workload", "ticket", "admin", "outcome", "source", "since", "until", "after", "before", "limit", "format", "follow"}
	refused(resource.ActivityPath, refusedQueries(known...))
	for _, name := range known {
		refused(resource.ActivityPath, []query{{name, name}, {name + "=", name}, {strings.ToUpper(name) + "=1", strings.ToUpper(name)}})
		if name != "kind" && name != "workload" && name != "ticket" && name != "admin" { // those are compared as they are
			refused(resource.ActivityPath, []query{{name + "=nonsense", name}, {name + "=%00", name}, {name + "=%ff", name}, {name + "=-1", name}})
		}
	}
	refused(resource.ActivityPath, []query{
		{"outcome=Allowed", "outcome"}, {"source=127.0.0.1:80", "source"}, {"source=localhost", "source"}, {"since=2026-01-01", "since"},
		{"until=1700000000", "until"}, {"since=0001-01-01T00:00:00Z", "since"}, {"after=9223372036854775808", "after"}, {"before=1.5", "before"},
		{"format=xml", "format"}, {"follow=false", "follow"}, {"follow=true&limit=1", "limit"}, {"format=jsonl&before=1", "before"},
	})
	refused(resource.ActivityVerifyPath, []query{{"full=true", "no query parameters"}})
}

// TestNamesInPaths: what no name can be is not there, and cannot be declared.
func TestNamesInPaths(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	routes := f.routes().api
	bodies := specs("", "")
	for _, name := range []string{"%00", "%ff", "%2e%2e%2f", "a%2fb", "A", "-a", "a%20b", "%1b[31m", "'%20OR%201=1", text(64), text(5000)} {
		for _, k := range resource.Kinds() {
			for method := range routes[k.Path+"/{name}"] {
				status, body := 404, any(nil)
				if method == http.MethodPut || method == http.MethodPatch {
					body = map[string]any{"spec": bodies[k.Kind].body}
				}
				if _, creates := routes[k.Path][http.MethodPost]; creates && method == http.MethodPut {
					status = 400
				}
				if got := f.send(method, k.Path+"/"+name, "Bearer "+f.admin, body); got.status != status {
					t.Errorf("%s %s/%.20s: %d, want %d: %.100s", method, k.Path, name, got.status, status, got.body)
				}
			}
		}
		f.send("POST", resource.SigningKeysPath+"/"+name+"/revoke", "Bearer "+f.admin, nil).refused(t, 404)
		m.secret(name).refused(t, 404)
		for _, e := range f.events() {
			if unescaped, _ := url.PathUnescape(name); strings.Contains(e.Resource, unescaped) && e.Resource != "" {
				t.Errorf("the activity repeats %.40q: %+v", unescaped, e)
			}
		}
	}
}

// headerCase is what is wrong with the fields of a request.
type headerCase struct {
	name   string
	header http.Header
	status int
	says   string
}

// TestEveryCredentialField: at every endpoint that wants a credential, a good one in
// another shape is none.
func TestEveryCredentialField(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	watch := f.watch(t)
	for path, endpoints := range f.routes().api {
		if path == registerPath || path == jwksPath || path == documentPath {
			continue // they want none
		}
		good := func() string { return f.admin }
		if strings.HasPrefix(path, operatorPath) {
			good = func() string { return m.assertion() }
		}
		for method := range endpoints {
			for _, c := range []headerCase{
				{"missing", http.Header{}, 401, ""},
				{"empty", http.Header{"Authorization": {""}}, 401, ""},
				{"scheme alone", http.Header{"Authorization": {"Bearer"}}, 401, ""},
				{"scheme and space", http.Header{"Authorization": {"Bearer "}}, 401, ""},
				{"no scheme", http.Header{"Authorization": {good()}}, 401, ""},
				{"another scheme", http.Header{"Authorization": {"Basic " + good()}}, 401, ""},
				{"DPoP", http.Header{"Authorization": {"DPoP " + good()}}, 401, ""},
				{"twice", http.Header{"Authorization": {"Bearer " + good(), "Bearer " + good()}}, 401, ""},
				{"and an empty one", http.Header{"Authorization": {"Bearer " + good(), ""}}, 401, ""},
				{"two in one", http.Header{"Authorization": {"Bearer " + good() + ", Bearer " + good()}}, 401, ""},
				{"with more", http.Header{"Authorization": {"Bearer " + good() + " x"}}, 401, ""},
				{"two spaces", http.Header{"Authorization": {"Bearer  " + good()}}, 401, ""},
				{"long", http.Header{"Authorization": {"Bearer " + good() + text(9000)}}, 401, ""},
				{"over-long", http.Header{"Authorization": {"Bearer " + text(2*maxHeaderBytes)}}, 431, ""},
				{"as a proxy's", http.Header{"Proxy-Authorization": {"Bearer " + good()}}, 401, ""},
				{"as a cookie", http.Header{"Cookie": {"token=" + good()}}, 401, ""},
			} {
				before := watch.version()
				f.through = func(r *http.Request) { r.Header = c.header.Clone() }
				got := f.send(method, strings.NewReplacer("{name}", "x", "{id}", "x").Replace(path), "", nil)
				f.through = nil
				if got.status != c.status {
					t.Errorf("%s %s, %s: %d, want %d: %.100s", method, path, c.name, got.status, c.status, got.body)
				}
				if got.status == 401 && (got.header.Get("WWW-Authenticate") == "" || method != "HEAD" && got.refused(t, 401) == "") {
					t.Errorf("%s %s, %s: %v", method, path, c.name, got)
				}
				if e := f.events()[0]; watch.version() != before && (e.Allowed || e.AdminID != "" || e.WorkloadID != "") {
					t.Errorf("%s %s, %s: activity %+v", method, path, c.name, e)
				}
			}
		}
	}
	if got := f.send("GET", resource.TicketsPath, "bearer "+f.admin, nil); got.status != 200 {
		t.Errorf("the scheme in lower case: %d", got.status)
	}
}

// TestEveryCondition: of what is there nothing is changed under a condition that does
// not hold, or that cannot be read.
func TestEveryCondition(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	workload := f.enrol(ticket.Ticket)
	watch := f.watch(t)
	routes, bodies := f.routes().api, specs(ticket.Name, workload.id)
	for _, k := range resource.Kinds() {
		name := "there"
		if _, creates := routes[k.Path][http.MethodPost]; creates {
			f.send("PUT", k.Path+"/"+name, "Bearer "+f.admin, map[string]any{"spec": bodies[k.Kind].body}).decode(t, 201, &resource.Any{})
		} else {
			name = workload.id
		}
		for method := range routes[k.Path+"/{name}"] {
			if method == http.MethodGet {
				continue
			}
			for _, c := range []headerCase{
				{"another tag", http.Header{"If-Match": {`"77"`}}, 412, "changed"},
				{"weak", http.Header{"If-Match": {`W/"1"`}}, 412, "changed"},
				{"empty tag", http.Header{"If-Match": {`""`}}, 412, "changed"},
				{"other tags", http.Header{"If-Match": {`"77"`, `"78"`}}, 412, "changed"},
				{"no tag", http.Header{"If-Match": {"1"}}, 400, "If-Match"},
				{"empty", http.Header{"If-Match": {""}}, 400, "If-Match"},
				{"nonsense", http.Header{"If-Match": {"nonsense"}}, 400, "If-Match"},
				{"unquoted end", http.Header{"If-Match": {`"1`}}, 400, "If-Match"},
				{"star and a tag", http.Header{"If-Match": {"*", `"77"`}}, 400, "If-Match"},
				{"long", http.Header{"If-Match": {text(5000)}}, 400, "If-Match"},
				{"not there", http.Header{"If-None-Match": {"*"}}, 412, "there already"},
				{"not there, no tag", http.Header{"If-None-Match": {"x"}}, 400, "If-None-Match"},
				{"not there, empty", http.Header{"If-None-Match": {""}}, 400, "If-None-Match"},
				{"not there, quoted star", http.Header{"If-None-Match": {`"*`}}, 400, "If-None-Match"},
			} {
				before := watch.version()
				f.through = func(r *http.Request) {
					for field, values := range c.header {
						r.Header[field] = values
					}
				}
				got := f.send(method, k.Path+"/"+name, "Bearer "+f.admin, map[string]any{"spec": bodies[k.Kind].body})
				f.through = nil
				if got.status != c.status || !strings.Contains(got.body, c.says) || watch.version() != before {
					t.Errorf("%s %s, %s: %d %s, written: %v; want %d", method, k.Path, c.name, got.status, got.body, watch.version() != before, c.status)
				}
			}
		}
	}
}
