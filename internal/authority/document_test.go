package authority

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/openapi/openapitest"
)

// TestTheDocumentIsServed, to everybody, and says by the configuration alone where
// requests go to: security.md 15.
func TestTheDocumentIsServed(t *testing.T) {
	f := start(t, func(c *Config) { c.Version = "v1.2.3" })
	got := f.send("GET", documentPath, "", nil, "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example")
	var said struct {
		Info    struct{ Version string }
		Servers []struct{ URL string }
	}
	got.decode(t, 200, &said)
	if said.Info.Version != "v1.2.3" || len(said.Servers) != 1 || said.Servers[0].URL != f.config.URL || got.body != string(f.describedBy().text)+"\n" {
		t.Errorf("%+v, %d bytes", said, len(got.body))
	}
	if says := got.header.Get("Content-Type"); says != "application/json" {
		t.Errorf("Content-Type %q", says)
	}
	tag := got.header.Get("ETag")
	for condition, want := range map[string]int{tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200} {
		if got := f.send("GET", documentPath, "", nil, "If-None-Match", condition); got.status != want || got.header.Get("ETag") != tag || (want == 304) != (got.body == "") {
			t.Errorf("If-None-Match %s: %d %v, %d bytes", condition, got.status, got.header, len(got.body))
		}
	}
	f.restart()
	if got := f.send("HEAD", documentPath, "", nil).header.Get("ETag"); got != tag {
		t.Errorf("after a restart it is %s, before %s", got, tag)
	}
}

// TestTheDocumentOfABaseWithAPath: what is not below the base says so, and the Host field
// says nothing: security.md 15.
func TestTheDocumentOfABaseWithAPath(t *testing.T) {
	f := start(t, func(c *Config) { c.URL, c.Issuer = "https://id.example/lanyard", "https://issuer.example/a" })
	recorder, request := httptest.NewRecorder(), httptest.NewRequest("GET", "/lanyard"+documentPath, nil)
	request.Host = "evil.example"
	f.Handler().ServeHTTP(recorder, request)
	type servers []struct{ URL string }
	var said struct {
		Servers servers
		Paths   map[string]struct{ Servers servers }
	}
	answer{recorder.Code, recorder.Header(), recorder.Body.String()}.decode(t, 200, &said)
	for path, want := range map[string]string{"/healthz": "https://id.example", discoveryPath: "https://issuer.example/a", issuerKeysPath: "https://issuer.example/a"} {
		if got := said.Paths[path].Servers; len(got) != 1 || got[0].URL != want {
			t.Errorf("%s is at %v, want %s", path, got, want)
		}
	}
	if got := said.Servers[0].URL; got != f.config.URL || len(said.Paths[registerPath].Servers) != 0 {
		t.Errorf("the rest is at %s", got)
	}
}

// TestTheDocumentHasWhatIsServed: the same methods of the same paths, whatever the
// configuration is.
func TestTheDocumentHasWhatIsServed(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"as it comes":            func(*Config) {},
		"with an issuer":         func(c *Config) { c.Issuer = "https://issuer.example" },
		"issuer with a path":     func(c *Config) { c.Issuer = "https://issuer.example/a/" },
		"issuer at the operator": func(c *Config) { c.URL, c.Issuer = "https://id.example", "https://id.example/operator" },
		"base with a path":       func(c *Config) { c.URL = "https://id.example/lanyard" },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, change)
			served, described := map[string]bool{}, map[string]bool{}
			r := f.routes()
			for base, routes := range map[string]map[string]methods{f.basePath(): r.api, f.issuerPath() + "/.": r.issuer, "/..": r.own} {
				for path, m := range routes {
					for method := range m {
						served[method+" "+strings.NewReplacer("/../", "/", "/./", "/").Replace(base+path)] = true
					}
				}
			}
			for _, operation := range f.promise.Operations {
				described[operation.String()] = true
			}
			for operation := range served {
				if !described[operation] {
					t.Errorf("%s is served, and not described", operation)
				}
			}
			for operation := range described {
				if !served[operation] {
					t.Errorf("%s is described, and not served", operation)
				}
			}
		})
	}
}

func listed(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), "\n") }

// TestSchemasHaveTheMembersOfTheirTypes, and require of an answer what is always in it.
func TestSchemasHaveTheMembersOfTheirTypes(t *testing.T) {
	f := start(t, func(c *Config) { c.Issuer = "https://issuer.example" })
	if err := f.promise.CheckSchemas(); err != nil {
		t.Error(err)
	}
	schemas := f.schemas()
	for name, sample := range map[string]any{
		"Error": errorBody{}, "Registered": registerResponse{}, "IdToken": idTokenResponse{}, "Invite": inviteResponse{},
		"KeyReplaced": keyResponse{}, "SecretContent": secretResponse{}, "Configuration": discovery{},
		"Activity": resource.Activity{}, "ActivityPage": resource.Page[resource.Activity]{}, "ActivityChain": resource.ActivityChain{},
		"TicketSpec": resource.TicketSpec{}, "TicketStatus": resource.TicketStatus{}, "TicketPage": resource.Page[resource.Ticket]{},
		"WorkloadSpec": resource.WorkloadSpec{}, "WorkloadStatus": resource.WorkloadStatus{},
		"AdminTokenSpec": resource.AdminTokenSpec{}, "AdminTokenStatus": resource.AdminTokenStatus{},
		"NetworkListSpec": resource.NetworkListSpec{}, "NetworkListStatus": resource.NetworkListStatus{},
		"TicketFactorySpec": resource.TicketFactorySpec{}, "TicketFactoryStatus": resource.TicketFactoryStatus{},
		"SigningKeySpec": resource.SigningKeySpec{}, "SigningKeyStatus": resource.SigningKeyStatus{},
		"SecretStatus": resource.SecretStatus{},
	} {
		members, always := membersOf(sample)
		if got := schemas[name]; !maps.Equal(got.members(), members) || !maps.Equal(got.required(), always) {
			t.Errorf("%s has\n%s\nand requires\n%s\nwant\n%s\nand\n%s", name, listed(got.members()), listed(got.required()), listed(members), listed(always))
		}
	}
	for name, sample := range map[string]any{
		"Registration": registerRequest{}, "IdTokenRequest": idTokenRequest{}, "InviteRequest": inviteRequest{}, "KeyReplacement": keyRequest{},
		"TicketDeclaration": resource.Declaration[any]{}, "TicketSpecDeclaration": resource.TicketSpec{}, "TicketSpecChange": resource.TicketSpec{},
		"WorkloadSpecDeclaration": resource.WorkloadSpec{}, "WorkloadSpecChange": resource.WorkloadSpec{},
		"AdminTokenSpecDeclaration": resource.AdminTokenSpec{}, "AdminTokenSpecChange": resource.AdminTokenSpec{},
		"NetworkListSpecDeclaration": resource.NetworkListSpec{}, "NetworkListSpecChange": resource.NetworkListSpec{},
		"TicketFactorySpecDeclaration": resource.TicketFactorySpec{}, "TicketFactorySpecChange": resource.TicketFactorySpec{},
		"SecretSpecDeclaration": resource.SecretSpec{}, "SecretSpecChange": resource.SecretSpec{},
	} {
		if members, _ := membersOf(sample); !maps.Equal(schemas[name].members(), members) {
			t.Errorf("%s has\n%s\nwant\n%s", name, listed(schemas[name].members()), listed(members))
		}
	}
	template, always := membersOf(resource.TicketTemplate{})
	if got := schemas["TicketFactorySpec"].Properties["ticket"]; !maps.Equal(got.members(), template) || !maps.Equal(got.required(), always) {
		t.Errorf("a template has\n%s", listed(got.members()))
	}
	if schemas["SecretSpec"].members()["content"] {
		t.Error("an answer may have the content of a secret")
	}
}

// objectSchema is what of a schema the tests look at.
type objectSchema struct {
	Properties map[string]objectSchema
	Required   []string
}

func (s objectSchema) members() map[string]bool {
	set := map[string]bool{}
	for name := range s.Properties {
		set[name] = true
	}
	return set
}

func (s objectSchema) required() map[string]bool {
	set := map[string]bool{}
	for _, name := range s.Required {
		set[name] = true
	}
	return set
}

func (f *fixture) schemas() map[string]objectSchema {
	f.t.Helper()
	var document struct {
		Components struct{ Schemas map[string]objectSchema }
	}
	if err := json.Unmarshal(f.describedBy().text, &document); err != nil {
		f.t.Fatal(err)
	}
	return document.Components.Schemas
}

// membersOf returns the names of all members of a struct's JSON, and of those that are
// always there.
func membersOf(sample any) (all, always map[string]bool) {
	all, always = map[string]bool{}, map[string]bool{}
	for field := range reflect.TypeOf(sample).Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		all[name] = true
		if options == "" {
			always[name] = true
		}
	}
	return all, always
}

// TestADocumentWithAMistakeIsNoticed, each of which would promise less than it seems to.
func TestADocumentWithAMistakeIsNoticed(t *testing.T) {
	f := start(t)
	for name, change := range map[string][2]string{
		"a misspelt member of OpenAPI": {`"summary":`, `"sumary":`},
		"a misspelt keyword":           {`"maxLength":256`, `"maxLenght":256`},
		"a reference to nothing":       {`#/components/responses/TooMany"`, `#/components/responses/TooFew"`},
		"a schema that is not there":   {`#/components/schemas/Tags"`, `#/components/schemas/Tag"`},
		"an example of something else": {`"examples":["720h"`, `"examples":["a while"`},
		"a default that is not one":    {`"default":"workload"`, `"default":"worker"`},
		"a pattern that is none":       {`"pattern":"^[^ ,]+$"`, `"pattern":"^[^ ,+$"`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(string(f.describedBy().text), change[0], change[1])
			if text == string(f.describedBy().text) {
				t.Fatal("nothing was changed")
			}
			d, err := openapitest.Parse([]byte(text))
			if err == nil {
				err = d.CheckSchemas()
			}
			if err == nil {
				t.Error("it passes")
			}
		})
	}
}
