package authority

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func TestTicketLife(t *testing.T) {
	f := start(t)
	expires := startTime.Add(time.Hour)
	spec := resource.TicketSpec{
		Description: "the billing server, Zürich", Role: "agent", ExpiresAt: &expires, MaxUses: 2, WorkloadTTL: "720h0m0s",
		Tags: []string{"eyes", "ears"}, Audiences: []string{"https://ledger.internal"},
		Networks: []string{"public-access"},
	}
	created := f.createTicket(spec)
	if !hasForm(created.Ticket, "lyt_", 32) || !hasForm(created.Name, "tk1:", 24) || strings.Contains(created.Ticket, created.Name[4:]) {
		t.Errorf("secret %q, name %q", created.Ticket, created.Name)
	}
	spec.Status, spec.Enrolment = resource.StatusActive, resource.EnrolmentOpen
	want := resource.Ticket{Kind: "Ticket", Name: created.Name, Spec: spec, Ticket: created.Ticket,
		Status: resource.TicketStatus{State: "active", CreatedAt: startTime, UpdatedAt: startTime}}
	if !reflect.DeepEqual(created, want) {
		t.Errorf("created %+v, want %+v", created, want)
	}
	want.Ticket = ""
	path := resource.TicketsPath + "/" + created.Name
	state := func(want string) {
		t.Helper()
		var got resource.Ticket
		f.send("GET", path, "Bearer "+f.admin, nil).decode(t, 200, &got)
		if got.Status.State != want {
			t.Errorf("state %s, want %s", got.Status.State, want)
		}
	}
	var shown resource.Ticket
	f.send("GET", path, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	if !reflect.DeepEqual(shown, want) {
		t.Errorf("shown %+v, want %+v", shown, want)
	}
	f.enrol(created.Ticket)
	state("active")
	f.enrol(created.Ticket)
	state("used_up")
	f.setStatus(created, "deactivated")
	state("deactivated")
	f.setStatus(created, "active")
	f.clock.Advance(time.Hour)
	state("expired")
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"expires_at":"2026-03-05T00:00:00+01:00","description":"other"}}`).decode(t, 200, &shown)
	if !shown.Spec.ExpiresAt.Equal(time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC)) || shown.Spec.Description != "other" ||
		shown.Status.State != "used_up" || !shown.Status.UpdatedAt.Equal(f.clock.Now()) {
		t.Errorf("changed: %+v", shown)
	}
	kinds := []string{}
	for _, e := range slices.Backward(f.events()) {
		kinds = append(kinds, e.Kind)
		if e.Kind != kindEnrol && (e.AdminID == "" || e.TicketID != created.Name || e.Source != "127.0.0.1") {
			t.Errorf("event %+v", e)
		}
	}
	if want := []string{"ticket.create", "enrol", "enrol", "ticket.change", "ticket.change", "ticket.change"}; !slices.Equal(kinds, want) {
		t.Errorf("activity %v, want %v", kinds, want)
	}
}

func TestTicketSpecs(t *testing.T) {
	f := start(t)
	words := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%q", fmt.Sprint(i)))
		}
		return strings.Join(list, ",")
	}
	for name, tt := range map[string]struct{ spec, says string }{
		"description too long":    {`{"description":"` + strings.Repeat("ü", maxDescription+1) + `"}`, "description"},
		"description line break":  {`{"description":"a\nb"}`, "description"},
		"description escape":      {`{"description":"\u001b[31m"}`, "description"},
		"description direction":   {`{"description":"\u202e"}`, "description"},
		"description a number":    {`{"description":1}`, "description"},
		"role":                    {`{"role":"admin"}`, "role"},
		"status":                  {`{"status":"expired"}`, "status"},
		"max_uses negative":       {`{"max_uses":-1}`, "max_uses"},
		"max_uses huge":           {`{"max_uses":9007199254740993}`, "max_uses"},
		"max_uses a string":       {`{"max_uses":"1"}`, "max_uses"},
		"expired at once":         {`{"expires_at":"2026-03-04T05:06:07Z"}`, "expires_at"},
		"expires before 1970":     {`{"expires_at":"0001-01-01T00:00:00Z"}`, "expires_at"},
		"expires far off":         {`{"expires_at":"9999-01-01T00:00:00Z"}`, "expires_at"},
		"expires no time":         {`{"expires_at":"tomorrow"}`, "expires_at"},
		"workload_ttl negative":   {`{"workload_ttl":"-1h"}`, "workload_ttl"},
		"workload_ttl zero":       {`{"workload_ttl":"0s"}`, "workload_ttl"},
		"workload_ttl huge":       {`{"workload_ttl":"1000000h"}`, "workload_ttl"},
		"workload_ttl no unit":    {`{"workload_ttl":"60"}`, "workload_ttl"},
		"tag empty":               {`{"tags":[""]}`, "tags"},
		"tag with comma":          {`{"tags":["a,b"]}`, "tags"},
		"tag twice":               {`{"tags":["a","a"]}`, "tags"},
		"tag too long":            {`{"tags":["` + strings.Repeat("a", maxTagLength+1) + `"]}`, "tags"},
		"too many tags":           {`{"tags":[` + words(maxTags+1) + `]}`, "tags"},
		"tags a string":           {`{"tags":"a"}`, "tags"},
		"audience with space":     {`{"audiences":["a b"]}`, "audiences"},
		"audience twice":          {`{"audiences":["a","a"]}`, "audiences"},
		"too many audiences":      {`{"audiences":[` + words(maxTicketAudiences+1) + `]}`, "audiences"},
		"unknown member":          {`{"network":["public-access"]}`, `"network"`},
		"network unknown":         {`{"networks":["nowhere"]}`, "nowhere"},
		"network no name":         {`{"networks":["10.0.0.0/8"]}`, "networks"},
		"network twice":           {`{"networks":["public-access","public-access"]}`, "networks"},
		"too many networks":       {`{"networks":[` + words(maxTicketNetworks+1) + `]}`, "networks"},
		"unknown member in words": {`{"maxUses":1}`, "maxUses"},
	} {
		t.Run(name, func(t *testing.T) {
			message := f.send("POST", resource.TicketsPath, "Bearer "+f.admin, `{"spec":`+tt.spec+`}`).refused(t, 400)
			if !strings.Contains(message, tt.says) {
				t.Errorf("message %q does not say %q", message, tt.says)
			}
		})
	}
	f.send("POST", resource.TicketsPath, "Bearer "+f.admin, `{"kind":"Workload","spec":{}}`).refused(t, 400)
	f.send("POST", resource.TicketsPath, "Bearer "+f.admin, nil).refused(t, 415)
	f.send("POST", resource.TicketsPath, "Bearer "+f.admin, strings.Repeat(" ", maxAdminBytes+1)).refused(t, 413)
	if n := len(f.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestTicketChanges(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{MaxUses: 3})
	path := resource.TicketsPath + "/" + ticket.Name
	f.enrol(ticket.Ticket)
	f.enrol(ticket.Ticket)
	for name, body := range map[string]string{
		"fewer uses than there were": `{"spec":{"max_uses":1}}`,
		"name of another":            `{"name":"tk1:x","spec":{}}`,
		"kind of another":            `{"kind":"Workload","spec":{}}`,
		"no spec":                    `{}`,
		"spec a list":                `{"spec":[]}`,
		"unknown member":             `{"spec":{"uses":0}}`,
		"unknown member to default":  `{"spec":{"expire_at":null}}`,
		"member twice":               `{"spec":{"status":"active","status":"active"}}`,
		"status unknown":             `{"spec":{"status":"gone"}}`,
		"expiry no time":             `{"spec":{"expires_at":7}}`,
		"description long":           `{"spec":{"description":"` + strings.Repeat("x", maxDescription+1) + `"}}`,
		"no object":                  `[]`,
	} {
		t.Run(name, func(t *testing.T) { f.send("PATCH", path, "Bearer "+f.admin, body).refused(t, 400) })
	}
	for _, missing := range []string{resource.TicketsPath + "/tk1:none", resource.WorkloadsPath + "/pr1:none"} {
		f.send("PATCH", missing, "Bearer "+f.admin, `{"spec":{}}`).refused(t, 404)
		f.send("GET", missing, "Bearer "+f.admin, nil).refused(t, 404)
	}
	f.send("DELETE", resource.TicketsPath+"/tk1:none", "Bearer "+f.admin, nil).refused(t, 404)
	f.send("DELETE", path, "Bearer "+f.admin, nil).refused(t, 409) // it has enrolled somebody
	f.send("DELETE", resource.WorkloadsPath+"/pr1:none", "Bearer "+f.admin, nil).refused(t, 405)
	f.send("POST", resource.WorkloadsPath, "Bearer "+f.admin, `{"spec":{}}`).refused(t, 405)
	// Every control can be changed after use, and null is the default again.
	var got resource.Ticket
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"role":"agent","max_uses":2,"tags":["x"],"audiences":["a"],"networks":["public-access"],"workload_ttl":"60m"}}`).decode(t, 200, &got)
	want := resource.TicketSpec{Role: "agent", Status: "active", Enrolment: "open", MaxUses: 2, Tags: []string{"x"}, Audiences: []string{"a"}, Networks: []string{"public-access"}, WorkloadTTL: "1h0m0s"}
	if !reflect.DeepEqual(got.Spec, want) {
		t.Errorf("changed to %+v, want %+v", got.Spec, want)
	}
	got = resource.Ticket{} // what is left out of the answer stays as it is
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"role":null,"tags":null,"workload_ttl":null}}`).decode(t, 200, &got)
	want.Role, want.Tags, want.WorkloadTTL = "workload", []string{}, ""
	if !reflect.DeepEqual(got.Spec, want) {
		t.Errorf("changed to %+v, want %+v", got.Spec, want)
	}
	if reason := f.events()[0].Reason; reason != "changed role, tags, workload_ttl" {
		t.Errorf("activity says %q", reason)
	}
	// An expiry in the past is how an administrator ends a ticket now.
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"max_uses":0,"expires_at":"2020-01-01T00:00:00Z"}}`).decode(t, 200, &got)
	f.newMember().register(ticket.Ticket).refused(t, 401)
}

func TestDeclaredTickets(t *testing.T) {
	f := start(t)
	path := resource.TicketsPath + "/billing"
	var made, again resource.Ticket
	first := f.send("PUT", path, "Bearer "+f.admin, `{"kind":"Ticket","name":"billing","spec":{"tags":["a"]}}`)
	first.decode(t, 201, &made)
	if made.Name != "billing" || !hasForm(made.Ticket, secretTicket, secretLength) || first.header.Get("Location") != f.base+path {
		t.Errorf("made %+v at %q", made, first.header.Get("Location"))
	}
	f.secrets = append(f.secrets, made.Ticket)
	seen := len(f.events())
	same := f.send("PUT", path, "Bearer "+f.admin, `{"spec":{"tags":["a"],"role":"workload"}}`)
	same.decode(t, 200, &again)
	if again.Ticket != "" || same.header.Get("ETag") != first.header.Get("ETag") || len(f.events()) != seen {
		t.Errorf("declared anew without a change: %+v, %d events more", again, len(f.events())-seen)
	}
	f.send("PUT", path, "Bearer "+f.admin, `{"spec":{}}`).decode(t, 200, &again)
	if len(again.Spec.Tags) != 0 {
		t.Errorf("tags %v stayed", again.Spec.Tags)
	}
	f.send("POST", resource.TicketsPath, "Bearer "+f.admin, `{"name":"billing","spec":{}}`).refused(t, 409)
	for _, name := range []string{"Billing", "-a", "a.", "a_b", "tk1:x", strings.Repeat("a", 64)} {
		f.send("PUT", resource.TicketsPath+"/"+name, "Bearer "+f.admin, `{"spec":{}}`).refused(t, 400)
	}
	if answer := f.send("DELETE", path, "Bearer "+f.admin, nil); answer.status != 204 || len(answer.body) != 0 {
		t.Errorf("removal: %d %q", answer.status, answer.body)
	}
	f.send("GET", path, "Bearer "+f.admin, nil).refused(t, 404)
	if kind := f.events()[0].Kind; kind != "ticket.delete" {
		t.Errorf("activity says %q", kind)
	}
}

func TestAStoppedWorkloadIsRefused(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m, other := f.enrol(ticket.Ticket), f.enrol(ticket.Ticket)
	path := resource.WorkloadsPath + "/" + m.id
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"status":"gone"}}`).refused(t, 400)
	var got resource.Workload
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"status":"deactivated"}}`).decode(t, 200, &got)
	if got.Spec.Status != "deactivated" || got.Status.RefusedBy != controlWorkload {
		t.Errorf("workload %+v", got)
	}
	if message := m.idToken(nil).refused(t, 403); !strings.Contains(message, controlWorkload) {
		t.Errorf("told %q", message)
	}
	other.idToken(nil).decode(t, 200, &idTokenResponse{})
	m.register(ticket.Ticket).refused(t, 401)
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"status":"active"}}`).decode(t, 200, &got)
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	if e := f.events()[1]; e.Kind != "workload.change" || e.WorkloadID != m.id {
		t.Errorf("activity %+v", e)
	}
}

func TestConcurrentEditsAreNoticed(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	path := resource.TicketsPath + "/" + ticket.Name
	patch := func(ifMatch string) int {
		request, err := http.NewRequest("PATCH", f.base+path, strings.NewReader(`{"spec":{"description":"x"}}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+f.admin)
		request.Header.Set("Content-Type", "application/merge-patch+json")
		request.Header.Set("If-Match", ifMatch)
		response, err := f.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	seen := f.send("GET", path, "Bearer "+f.admin, nil).header.Get("ETag")
	for i, want := range []int{200, 412} {
		if got := patch(seen); got != want {
			t.Errorf("edit %d under %s: %d, want %d", i, seen, got, want)
		}
	}
	if got := patch("*"); got != 200 {
		t.Errorf("edit under *: %d", got)
	}
	// An enrolment is no edit.
	seen = f.send("GET", path, "Bearer "+f.admin, nil).header.Get("ETag")
	f.enrol(ticket.Ticket)
	if got := patch(seen); got != 200 {
		t.Errorf("edit after an enrolment: %d", got)
	}
}

func TestListings(t *testing.T) {
	f := start(t)
	names := map[string]bool{}
	var first resource.Ticket
	for i := range 7 {
		ticket := f.createTicket(resource.TicketSpec{Tags: []string{"t"}})
		names[ticket.Name] = true
		if i == 0 {
			first = ticket
		}
	}
	after, pages := "", 0
	for {
		var page resource.Page[resource.Ticket]
		f.send("GET", resource.TicketsPath+"?limit=3&after="+after, "Bearer "+f.admin, nil).decode(t, 200, &page)
		for _, ticket := range page.Items {
			if !names[ticket.Name] || ticket.Ticket != "" {
				t.Errorf("listed %+v", ticket)
			}
			delete(names, ticket.Name)
		}
		if pages++; page.Next == "" {
			break
		}
		after = page.Next
	}
	if pages != 3 || len(names) != 0 {
		t.Errorf("%d pages, %v not listed", pages, names)
	}
	for _, query := range []string{"limit=0", "limit=-1", "limit=x", fmt.Sprint("limit=", resource.MaxPage+1), "limit=1&limit=2", "nonsense=1", "%zz"} {
		f.send("GET", resource.TicketsPath+"?"+query, "Bearer "+f.admin, nil).refused(t, 400)
	}
	m := f.enrol(first.Ticket)
	f.clock.Advance(2 * time.Minute)
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	var workloads resource.Page[resource.Workload]
	f.send("GET", resource.WorkloadsPath, "Bearer "+f.admin, nil).decode(t, 200, &workloads)
	want := resource.Workload{Kind: "Workload", Name: m.id, Spec: resource.WorkloadSpec{Status: "active"}, Status: resource.WorkloadStatus{
		Ticket: first.Name, Role: "workload", Tags: []string{"t"}, KeyThumbprint: m.public.Thumbprint(),
		EnrolledAt: startTime, LastContactAt: startTime.Add(2 * time.Minute),
	}}
	if len(workloads.Items) != 1 || !reflect.DeepEqual(workloads.Items[0], want) {
		t.Errorf("got %+v, want %+v", workloads.Items, want)
	}
	f.setStatus(first, "deactivated")
	var shown resource.Workload
	f.send("GET", resource.WorkloadsPath+"/"+m.id, "Bearer "+f.admin, nil).decode(t, 200, &shown)
	if shown.Status.RefusedBy != "status" {
		t.Errorf("refused by %q", shown.Status.RefusedBy)
	}
}

func TestAdministratorsTokens(t *testing.T) {
	f := start(t)
	status := func(token string) int { return f.send("GET", resource.TicketsPath, "Bearer "+token, nil).status }
	var made resource.AdminToken
	f.send("POST", resource.AdminTokensPath, "Bearer "+f.admin, `{"spec":{"role":"admin","expires_at":"2026-03-04T06:06:07Z"}}`).decode(t, 201, &made)
	limited := made.Token
	f.secrets = append(f.secrets, limited)
	for token, want := range map[string]int{f.admin: 200, limited: 200, "": 401, "lya_": 401, f.admin + "x": 401,
		strings.ToUpper(f.admin): 401, "lya_" + strings.Repeat("3", 32): 401} {
		if got := status(token); got != want {
			t.Errorf("token: %d, want %d", got, want)
		}
	}
	var shown resource.AdminToken
	f.send("GET", resource.AdminTokensPath+"/"+made.Name, "Bearer "+limited, nil).decode(t, 200, &shown)
	if shown.Token != "" || shown.Spec.Role != resource.RoleAdmin {
		t.Errorf("shown %+v", shown)
	}
	f.clock.Advance(time.Hour)
	if got := status(limited); got != 401 {
		t.Errorf("expired token: %d", got)
	}
	if reason := f.events()[0].Reason; !strings.Contains(reason, "expired") {
		t.Errorf("activity says %q", reason)
	}
}

func TestAViewerChangesNothing(t *testing.T) {
	f := start(t)
	var viewer resource.AdminToken
	f.send("PUT", resource.AdminTokensPath+"/auditor", "Bearer "+f.admin, `{"spec":{"description":"looks"}}`).decode(t, 201, &viewer)
	f.secrets = append(f.secrets, viewer.Token)
	if viewer.Spec.Role != resource.RoleViewer {
		t.Fatalf("made %+v", viewer)
	}
	ticket := f.createTicket(resource.TicketSpec{})
	as := "Bearer " + viewer.Token
	for _, k := range resource.Kinds() {
		f.send("GET", k.Path, as, nil).decode(t, 200, &resource.Page[resource.Any]{})
		for method, path := range map[string]string{"POST": k.Path, "PUT": k.Path + "/x", "PATCH": k.Path + "/x", "DELETE": k.Path + "/x"} {
			if got := f.send(method, path, as, `{"spec":{}}`).status; got != 403 && got != 405 {
				t.Errorf("%s %s: %d", method, path, got)
			}
		}
	}
	f.send("PATCH", resource.TicketsPath+"/"+ticket.Name, as, `{"spec":{"status":"deactivated"}}`).refused(t, 403)
	if e := f.events()[0]; e.Allowed || e.AdminID != "auditor" || !strings.Contains(e.Reason, "viewer") {
		t.Errorf("activity %+v", e)
	}
	// Revoked at once.
	if got := f.send("DELETE", resource.AdminTokensPath+"/auditor", "Bearer "+f.admin, nil).status; got != 204 {
		t.Errorf("revocation: %d", got)
	}
	f.send("GET", resource.TicketsPath, as, nil).refused(t, 401)
}

func TestTheLastAdministratorStays(t *testing.T) {
	f := start(t)
	var tokens resource.Page[resource.AdminToken]
	f.send("GET", resource.AdminTokensPath, "Bearer "+f.admin, nil).decode(t, 200, &tokens)
	if len(tokens.Items) != 1 {
		t.Fatalf("tokens %+v", tokens)
	}
	first := resource.AdminTokensPath + "/" + tokens.Items[0].Name
	f.send("PUT", resource.AdminTokensPath+"/auditor", "Bearer "+f.admin, `{"spec":{}}`).decode(t, 201, &resource.AdminToken{})
	refused := func() {
		t.Helper()
		f.send("DELETE", first, "Bearer "+f.admin, nil).refused(t, 409)
		f.send("PATCH", first, "Bearer "+f.admin, `{"spec":{"role":"viewer"}}`).refused(t, 409)
		f.send("PATCH", first, "Bearer "+f.admin, `{"spec":{"expires_at":"2026-01-01T00:00:00Z"}}`).refused(t, 409)
	}
	refused()
	f.send("PUT", resource.AdminTokensPath+"/second", "Bearer "+f.admin, `{"spec":{"role":"admin","expires_at":"2026-03-04T06:06:07Z"}}`).decode(t, 201, &resource.AdminToken{})
	f.clock.Advance(time.Hour)
	refused() // the second one has expired
	f.send("PUT", resource.AdminTokensPath+"/third", "Bearer "+f.admin, `{"spec":{"role":"admin"}}`).decode(t, 201, &resource.AdminToken{})
	if got := f.send("DELETE", first, "Bearer "+f.admin, nil).status; got != 204 {
		t.Errorf("removal: %d", got)
	}
	f.send("GET", first, "Bearer "+f.admin, nil).refused(t, 401)
}
