package authority

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// declareFactory makes a factory what is said.
func (f *fixture) declareFactory(name string, spec resource.TicketFactorySpec) resource.TicketFactory {
	f.t.Helper()
	got := f.send("PUT", resource.TicketFactoriesPath+"/"+name, "Bearer "+f.admin, map[string]any{"spec": spec})
	var made resource.TicketFactory
	got.decode(f.t, got.status, &made)
	if got.status/100 != 2 {
		f.t.Fatalf("factory: %s", got.body)
	}
	return made
}

// orchestrator enrols one, by a ticket of its own.
func (f *fixture) orchestrator() (*member, resource.Ticket) {
	f.t.Helper()
	ticket := f.createTicket(resource.TicketSpec{Role: resource.RoleOrchestrator})
	return f.enrol(ticket.Ticket), ticket
}

func (m *member) invite(factory string) answer {
	m.f.t.Helper()
	return m.f.send("POST", invitePath, "Bearer "+m.assertion(), inviteRequest{factory})
}

// mint has the orchestrator make a ticket, and returns its secret.
func (m *member) mint(factory string) string {
	m.f.t.Helper()
	var got inviteResponse
	m.invite(factory).decode(m.f.t, http.StatusOK, &got)
	m.f.secrets = append(m.f.secrets, got.Ticket)
	return got.Ticket
}

func TestTicketFactoryLife(t *testing.T) {
	f := start(t)
	as := "Bearer " + f.admin
	m, ticket := f.orchestrator()
	f.declareNetworks("here", "127.0.0.1")
	path := resource.TicketFactoriesPath + "/ci"
	made := f.declareFactory("ci", resource.TicketFactorySpec{
		Description: "build machines", Orchestrators: []string{ticket.Name, m.id},
		Ticket: resource.TicketTemplate{ExpiresIn: "90m", WorkloadTTL: "60m", MaxUses: 1, Tags: []string{"ci"}, Networks: []string{"here"}},
	})
	want := resource.TicketFactory{Kind: "TicketFactory", Name: "ci", Spec: resource.TicketFactorySpec{
		Description: "build machines", Status: "active", Minting: "open", Orchestrators: []string{ticket.Name, m.id},
		Ticket: resource.TicketTemplate{Role: "workload", ExpiresIn: "1h30m0s", WorkloadTTL: "1h0m0s", MaxUses: 1,
			Tags: []string{"ci"}, Audiences: []string{}, Networks: []string{"here"}},
	}, Status: resource.TicketFactoryStatus{CreatedAt: startTime, UpdatedAt: startTime}}
	if !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v, want %+v", made, want)
	}
	if e := f.events()[0]; e.Kind != "ticket_factory.create" || e.Resource != "TicketFactory/ci" || e.AdminID == "" {
		t.Errorf("activity %+v", e)
	}
	f.send("DELETE", resource.NetworkListsPath+"/here", as, nil).refused(t, 409)
	var changed resource.TicketFactory
	f.send("PATCH", path, as, `{"spec":{"ticket":{"networks":null,"tags":["other"]}}}`).decode(t, 200, &changed)
	if got := changed.Spec.Ticket; len(got.Networks) != 0 || got.Tags[0] != "other" || got.ExpiresIn != "1h30m0s" {
		t.Errorf("changed to %+v", got)
	}
	if got := f.send("DELETE", resource.NetworkListsPath+"/here", as, nil).status; got != 204 {
		t.Errorf("removal of a list that no template names: %d", got)
	}
	var named resource.TicketFactory
	f.send("POST", resource.TicketFactoriesPath, as, `{"spec":{}}`).decode(t, 201, &named)
	if !hasForm(named.Name, prefixFactory, idLength) {
		t.Errorf("named %q", named.Name)
	}
	var all resource.Page[resource.TicketFactory]
	f.send("GET", resource.TicketFactoriesPath, as, nil).decode(t, 200, &all)
	if len(all.Items) != 2 {
		t.Errorf("listed %+v", all.Items)
	}
	secret := m.mint("ci")
	if got := f.send("DELETE", path, as, nil).status; got != 204 {
		t.Errorf("removal: %d", got)
	}
	m.invite("ci").refused(t, 404)
	f.enrol(secret) // what it made stays
}

func TestTicketFactorySpecs(t *testing.T) {
	f := start(t)
	f.createTicket(resource.TicketSpec{})
	for name, tt := range map[string]struct{ spec, says string }{
		"an orchestrator's ticket":  {`{"ticket":{"role":"orchestrator"}}`, "ticket: role"},
		"role":                      {`{"ticket":{"role":"admin"}}`, "ticket: role"},
		"status":                    {`{"status":"gone"}`, "status"},
		"minting":                   {`{"minting":"ajar"}`, "minting"},
		"description":               {`{"description":"a\nb"}`, "description"},
		"a ticket not there":        {`{"orchestrators":["nobody"]}`, `"nobody"`},
		"a workload not there":      {`{"orchestrators":["pr1:000000000000000000000000"]}`, "no ticket or workload"},
		"a tag":                     {`{"orchestrators":["Tag ci"]}`, "orchestrators"},
		"an orchestrator twice":     {`{"orchestrators":["a","a"]}`, "orchestrators"},
		"too many orchestrators":    {`{"orchestrators":["a"` + strings.Repeat(`,"b"`, maxOrchestrators) + `]}`, "more than"},
		"a list not there":          {`{"ticket":{"networks":["nowhere"]}}`, "ticket: networks"},
		"expires_in no duration":    {`{"ticket":{"expires_in":"tomorrow"}}`, "expires_in"},
		"expires_in zero":           {`{"ticket":{"expires_in":"0s"}}`, "expires_in"},
		"expires_in negative":       {`{"ticket":{"expires_in":"-1h"}}`, "expires_in"},
		"expires_at":                {`{"ticket":{"expires_at":"2030-01-01T00:00:00Z"}}`, "expires_at"},
		"status of the ticket":      {`{"ticket":{"status":"active"}}`, `"status"`},
		"workload_ttl":              {`{"ticket":{"workload_ttl":"60"}}`, "ticket: workload_ttl"},
		"max_uses":                  {`{"ticket":{"max_uses":-1}}`, "ticket: max_uses"},
		"tags":                      {`{"ticket":{"tags":["a b"]}}`, "ticket: tags"},
		"audiences":                 {`{"ticket":{"audiences":["a b"]}}`, "ticket: audiences"},
		"description of the ticket": {`{"ticket":{"description":"a\nb"}}`, "ticket: description"},
	} {
		t.Run(name, func(t *testing.T) {
			message := f.send("PUT", resource.TicketFactoriesPath+"/x", "Bearer "+f.admin, `{"spec":`+tt.spec+`}`).refused(t, 400)
			if !strings.Contains(message, tt.says) {
				t.Errorf("message %q does not say %q", message, tt.says)
			}
		})
	}
}

func TestUnusedTicketsOfFactoriesAreForgotten(t *testing.T) {
	f := start(t)
	m, ticket := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}, Ticket: resource.TicketTemplate{ExpiresIn: "1h"}})
	f.declareFactory("lasting", resource.TicketFactorySpec{Orchestrators: []string{ticket.Name}})
	soon := startTime.Add(time.Hour)
	f.createTicket(resource.TicketSpec{ExpiresAt: &soon}) // an administrator's: not ours to remove
	f.enrol(m.mint("ci"))
	m.mint("ci")
	m.mint("lasting")
	count := func() int {
		t.Helper()
		if err := f.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all resource.Page[resource.Ticket]
		f.send("GET", resource.TicketsPath, "Bearer "+f.admin, nil).decode(t, 200, &all)
		return len(all.Items)
	}
	f.clock.Advance(time.Hour + unusedTicketRetention)
	if got := count(); got != 5 {
		t.Errorf("%d tickets, want 5", got)
	}
	f.clock.Advance(time.Second)
	if got := count(); got != 4 {
		t.Errorf("%d tickets, want all but the one that nobody used", got)
	}
}
