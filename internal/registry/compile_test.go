package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

type accounts map[string]uint32

func (a accounts) UserID(name string) (uint32, error)  { return a.find(name) }
func (a accounts) GroupID(name string) (uint32, error) { return a.find(name) }

func (a accounts) find(name string) (uint32, error) {
	if id, ok := a[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("this host has no %q", name)
}

var host = accounts{"root": 0, "billing": 990}

func identity(name string, match workload.SelectorSpec) IdentitySpec {
	return IdentitySpec{Name: name, Match: match}
}

// billing is an identity that every destination of these tests may list.
var billing = identity("billing", workload.SelectorSpec{Users: []string{"billing"}})

func ledger() DestinationSpec {
	return DestinationSpec{
		Name: "ledger", Hosts: []string{"ledger.internal"}, Ports: []int{80, 443},
		Audience: "https://ledger.internal", Identities: []string{"billing"},
	}
}

func mustCompile(t *testing.T, identities []IdentitySpec, destinations ...DestinationSpec) *Policy {
	t.Helper()
	p, _, err := Compile(Resources{Identities: identities, Destinations: destinations}, host)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompileAppliesDefaults(t *testing.T) {
	spec := ledger()
	spec.Hosts = []string{"Ledger.Internal.", "[2001:DB8::1]", "::ffff:10.0.0.1"}
	spec.Addresses = []string{"10.1.0.0/16", "10.0.0.1", "::ffff:10.2.0.0/112"}
	d := mustCompile(t, []IdentitySpec{billing}, spec).Destination("ledger.internal", 80)
	if d == nil {
		t.Fatal("not registered")
	}
	if !d.Enforce || d.ExistingAuthorization != workload.ReplaceAuthorization || d.OnFailure != workload.FailClosed || d.Unknown != workload.UnknownPass {
		t.Errorf("defaults: %+v", d)
	}
	if want := []string{"ledger.internal", "2001:db8::1", "10.0.0.1"}; !slices.Equal(d.Hosts, want) {
		t.Errorf("hosts %v", d.Hosts)
	}
	if got := fmt.Sprint(d.Addresses); got != "[10.1.0.0/16 10.0.0.1/32 10.2.0.0/16]" {
		t.Errorf("addresses %v", got)
	}
}

func TestCompileKeepsChoices(t *testing.T) {
	spec := ledger()
	spec.Observe, spec.ExistingAuthorization, spec.OnFailure = true, "refuse", "open"
	spec.Methods, spec.Paths = []string{"GET"}, []string{"/v1/", "/exact"}
	d := mustCompile(t, []IdentitySpec{billing}, spec).Destination("ledger.internal", 443)
	if d.Enforce || d.ExistingAuthorization != workload.RefuseAuthorization || d.OnFailure != workload.FailOpen ||
		!slices.Equal(d.Methods, spec.Methods) || !slices.Equal(d.Paths, spec.Paths) {
		t.Errorf("got %+v", d)
	}
}

func TestCompileKeepsWhatBecomesOfTheUnknown(t *testing.T) {
	for _, choice := range []workload.UnknownCallers{workload.UnknownPass, workload.UnknownRefusedElsewhere, workload.UnknownRefused} {
		spec := ledger()
		spec.Unknown, spec.OnFailure = string(choice), "closed"
		if d := mustCompile(t, []IdentitySpec{billing}, spec).Destination("ledger.internal", 443); d.Unknown != choice {
			t.Errorf("got %q, want %q", d.Unknown, choice)
		}
	}
	spec := ledger()
	spec.Unknown, spec.OnFailure = "pass", "open"
	mustCompile(t, []IdentitySpec{billing}, spec)
}

func TestCompileRefuses(t *testing.T) {
	change := func(f func(*DestinationSpec)) Resources {
		spec := ledger()
		f(&spec)
		return Resources{Identities: []IdentitySpec{billing}, Destinations: []DestinationSpec{spec}}
	}
	hosts := func(h ...string) Resources { return change(func(d *DestinationSpec) { d.Hosts = h }) }
	for name, tc := range map[string]struct {
		resources  Resources
		path, says string
	}{
		"no host":             {hosts(), "destinations[0].hosts", "no host"},
		"empty host":          {hosts(""), "destinations[0].hosts[0]", "empty"},
		"URL":                 {hosts("https://x.org"), "destinations[0].hosts[0]", "URL"},
		"host with port":      {hosts("x.org:80"), "destinations[0].hosts[0]", "below ports"},
		"star":                {hosts("*"), "destinations[0].hosts[0]", "every host"},
		"star inside":         {hosts("a.*.org"), "destinations[0].hosts[0]", "first"},
		"star in label":       {hosts("a*.org"), "destinations[0].hosts[0]", "first"},
		"double dot":          {hosts("a..org"), "destinations[0].hosts[0]", "empty label"},
		"hyphen":              {hosts("-a.org"), "destinations[0].hosts[0]", "hyphen"},
		"space":               {hosts("a b.org"), "destinations[0].hosts[0]", "cannot stand"},
		"unicode":             {hosts("bücher.example"), "destinations[0].hosts[0]", "xn--"},
		"long label":          {hosts(strings.Repeat("a", 64) + ".org"), "destinations[0].hosts[0]", "longer"},
		"long name":           {hosts(strings.Repeat("a.", 127) + "org"), "destinations[0].hosts[0]", "longer"},
		"number":              {hosts("127.1"), "destinations[0].hosts[0]", "no address"},
		"wildcard of numbers": {hosts("*.0.0.1"), "destinations[0].hosts[0]", "no address"},
		"zone":                {hosts("fe80::1%eth0"), "destinations[0].hosts[0]", "zone"},
		"host twice":          {hosts("a.org", "A.org."), "destinations[0].hosts[1]", "twice"},
		"plaintext wildcard":  {hosts("*.a.org"), "destinations[0].hosts", "add addresses"},
		"no port":             {change(func(d *DestinationSpec) { d.Ports = nil }), "destinations[0].ports", "no port"},
		"port 0":              {change(func(d *DestinationSpec) { d.Ports = []int{0} }), "destinations[0].ports[0]", "1 to 65535"},
		"port 65536":          {change(func(d *DestinationSpec) { d.Ports = []int{80, 65536} }), "destinations[0].ports[1]", "1 to 65535"},
		"port twice":          {change(func(d *DestinationSpec) { d.Ports = []int{80, 80} }), "destinations[0].ports[1]", "twice"},
		"address garbage":     {change(func(d *DestinationSpec) { d.Addresses = []string{"ten"} }), "destinations[0].addresses[0]", "10.1.0.0/16"},
		"address bits":        {change(func(d *DestinationSpec) { d.Addresses = []string{"10.1.2.3/16"} }), "destinations[0].addresses[0]", "10.1.0.0/16"},
		"every address":       {change(func(d *DestinationSpec) { d.Addresses = []string{"0.0.0.0/0"} }), "destinations[0].addresses[0]", "verifies nothing"},
		"every v6 address":    {change(func(d *DestinationSpec) { d.Addresses = []string{"::/0"} }), "destinations[0].addresses[0]", "verifies nothing"},
		"every mapped":        {change(func(d *DestinationSpec) { d.Addresses = []string{"::ffff:0.0.0.0/96"} }), "destinations[0].addresses[0]", "verifies nothing"},
		"address twice":       {change(func(d *DestinationSpec) { d.Addresses = []string{"10.0.0.1", "10.0.0.1/32"} }), "destinations[0].addresses[1]", "twice"},
		"two audiences":       {change(func(d *DestinationSpec) { d.Audience = "a b" }), "destinations[0].audience", "exactly one"},
		"audience control":    {change(func(d *DestinationSpec) { d.Audience = "a\n" }), "destinations[0].audience", "exactly one"},
		"audience long":       {change(func(d *DestinationSpec) { d.Audience = strings.Repeat("a", maxAudience+1) }), "destinations[0].audience", "longer"},
		"method trace":        {change(func(d *DestinationSpec) { d.Methods = []string{"TRACE"} }), "destinations[0].methods[0]", "never carries"},
		"method small":        {change(func(d *DestinationSpec) { d.Methods = []string{"get"} }), "destinations[0].methods[0]", "write GET"},
		"method garbage":      {change(func(d *DestinationSpec) { d.Methods = []string{"GE T"} }), "destinations[0].methods[0]", "no method"},
		"method twice":        {change(func(d *DestinationSpec) { d.Methods = []string{"GET", "GET"} }), "destinations[0].methods[1]", "twice"},
		"path relative":       {change(func(d *DestinationSpec) { d.Paths = []string{"v1/"} }), "destinations[0].paths[0]", "slash"},
		"path query":          {change(func(d *DestinationSpec) { d.Paths = []string{"/v1?x"} }), "destinations[0].paths[0]", "query"},
		"path star":           {change(func(d *DestinationSpec) { d.Paths = []string{"/v1/*"} }), "destinations[0].paths[0]", "no wildcard"},
		"path dots":           {change(func(d *DestinationSpec) { d.Paths = []string{"/a/../b"} }), "destinations[0].paths[0]", "dot segment"},
		"path empty part":     {change(func(d *DestinationSpec) { d.Paths = []string{"/a//b"} }), "destinations[0].paths[0]", "ever matches"},
		"path encoded twice":  {change(func(d *DestinationSpec) { d.Paths = []string{"/a%252Fb"} }), "destinations[0].paths[0]", "ever matches"},
		"path half encoded":   {change(func(d *DestinationSpec) { d.Paths = []string{"/a%2"} }), "destinations[0].paths[0]", "ever matches"},
		"path with dots off":  {change(func(d *DestinationSpec) { d.Paths = []string{"/a/..;x/b"} }), "destinations[0].paths[0]", "dot segment"},
		"path encoded":        {change(func(d *DestinationSpec) { d.Paths = []string{"/a%2Fb"} }), "destinations[0].paths[0]", "ever matches"},
		"path parameters":     {change(func(d *DestinationSpec) { d.Paths = []string{"/a;v=1/"} }), "destinations[0].paths[0]", "ever matches"},
		"path encoded space":  {change(func(d *DestinationSpec) { d.Paths = []string{"/a%20b"} }), "destinations[0].paths[0]", "ever matches"},
		"path backslash":      {change(func(d *DestinationSpec) { d.Paths = []string{`/a\b`} }), "destinations[0].paths[0]", "ever matches"},
		"path space":          {change(func(d *DestinationSpec) { d.Paths = []string{"/a b"} }), "destinations[0].paths[0]", "percent"},
		"path twice":          {change(func(d *DestinationSpec) { d.Paths = []string{"/a", "/a"} }), "destinations[0].paths[1]", "twice"},
		"served by nobody":    {change(func(d *DestinationSpec) { d.ServedBy = &ServerSpec{} }), "destinations[0].served_by", "names nobody"},
		"served by everybody": {change(func(d *DestinationSpec) { d.ServedBy = &ServerSpec{Cgroups: []string{"/"}} }), "destinations[0].served_by", "every process"},
		"served by no user":   {change(func(d *DestinationSpec) { d.ServedBy = &ServerSpec{Users: []string{"root", "nobody-here"}} }), "destinations[0].served_by.user[1]", "no \"nobody-here\""},
		"served by a slice":   {change(func(d *DestinationSpec) { d.ServedBy = &ServerSpec{SystemdUnits: []string{"a.slice"}} }), "destinations[0].served_by.systemd_unit[0]", "use cgroup"},
		"served by no list":   {change(func(d *DestinationSpec) { d.ServedBy = &ServerSpec{Cgroups: []string{}} }), "destinations[0].served_by.cgroup", "empty"},
		"verify nothing":      {change(func(d *DestinationSpec) { d.Verify, d.Addresses = "addresses", nil }), "destinations[0].verify", "no addresses"},
		"verify by tls":       {change(func(d *DestinationSpec) { d.Verify = "tls" }), "destinations[0].verify", "write addresses or dns"},
		"verify choice":       {change(func(d *DestinationSpec) { d.Verify = "host" }), "destinations[0].verify", "dns or addresses"},
		"before choice":       {change(func(d *DestinationSpec) { d.Before = "reset" }), "destinations[0].connections_before", "end or count"},
		"before, open":        {change(func(d *DestinationSpec) { d.Before, d.OnFailure = "count", "open" }), "destinations[0].connections_before", "only where on_failure is closed"},
		"choice":              {change(func(d *DestinationSpec) { d.OnFailure = "close" }), "destinations[0].on_failure", "closed or open"},
		"unknown choice":      {change(func(d *DestinationSpec) { d.Unknown = "deny" }), "destinations[0].unknown", "pass or refuse or refuse_everywhere"},
		"unknown, open":       {change(func(d *DestinationSpec) { d.Unknown, d.OnFailure = "refuse", "open" }), "destinations[0].unknown", "only where on_failure is closed"},
		"unknown, observed":   {change(func(d *DestinationSpec) { d.Unknown, d.Observe = "refuse_everywhere", true }), "destinations[0].unknown", "enforce is false"},
		"other choice":        {change(func(d *DestinationSpec) { d.ExistingAuthorization = "x" }), "destinations[0].existing_authorization", "replace or keep or refuse"},
		"no identity":         {change(func(d *DestinationSpec) { d.Identities = nil }), "destinations[0].identities", "no identity"},
		"unknown identity":    {change(func(d *DestinationSpec) { d.Identities = []string{"biling"} }), "destinations[0].identities[0]", `"biling"`},
		"identity listed twice": {change(func(d *DestinationSpec) { d.Identities = []string{"billing", "billing"} }),
			"destinations[0].identities[1]", "twice"},
		"bad name":          {change(func(d *DestinationSpec) { d.Name = "../x" }), "destinations[0].name", "no name"},
		"identity bad name": {Resources{Identities: []IdentitySpec{identity("", billing.Match)}}, "identities[0].name", "no name"},
		"identity twice":    {Resources{Identities: []IdentitySpec{billing, billing}}, "identities[1].name", "twice"},
		"selector": {Resources{Identities: []IdentitySpec{identity("x", workload.SelectorSpec{Users: []string{"root", "nobody-here"}})}},
			"identities[0].match.user[1]", "no \"nobody-here\""},
		"selector whole": {Resources{Identities: []IdentitySpec{identity("x", workload.SelectorSpec{Executables: []string{"/x"}})}},
			"identities[0].match", "any_user: true"},
		"destination twice": {Resources{Identities: []IdentitySpec{billing}, Destinations: []DestinationSpec{ledger(), {
			Name: "ledger", Hosts: []string{"other"}, Ports: []int{80}, Identities: []string{"billing"}}}}, "destinations[1].name", "twice"},
		"host in two": {Resources{Identities: []IdentitySpec{billing}, Destinations: []DestinationSpec{ledger(), {
			Name: "other", Hosts: []string{"LEDGER.internal"}, Ports: []int{8080, 443}, Identities: []string{"billing"}}}}, "destinations[1].hosts", `port 443 is also in destination "ledger"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, err := Compile(tc.resources, host)
			var problems Problems
			if p != nil || !errors.As(err, &problems) {
				t.Fatalf("got %v, %v", p, err)
			}
			if len(problems) != 1 || problems[0].Path != tc.path || !strings.Contains(problems[0].Reason, tc.says) {
				t.Errorf("got %+v, want %s … %s", problems, tc.path, tc.says)
			}
		})
	}
}

func TestCompileReportsEverythingAtOnce(t *testing.T) {
	bad := ledger()
	bad.Hosts, bad.Ports, bad.Identities = nil, nil, []string{"x"}
	_, _, err := Compile(Resources{Destinations: []DestinationSpec{bad}}, host)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Errorf("got %v", err)
	}
}

func TestCompileWarns(t *testing.T) {
	open := identity("open", workload.SelectorSpec{Executables: []string{"/usr/bin/*"}, AnyUser: true})
	wild := DestinationSpec{Name: "wild", Hosts: []string{"*.a.org"}, Ports: []int{443, 8443}, Identities: []string{"open"}}
	tls := DestinationSpec{Name: "tls", Hosts: []string{"*.corp"}, Ports: []int{443}, Identities: []string{"open"}}
	_, warnings, err := Compile(Resources{Identities: []IdentitySpec{open, billing}, Destinations: []DestinationSpec{wild, tls}}, host)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, w := range warnings {
		paths = append(paths, w.Path)
	}
	if want := []string{"identities[0].match", "destinations[0].hosts", "destinations[0].ports[0]", "destinations[1].hosts[0]", "destinations[1].ports[0]"}; !slices.Equal(paths, want) {
		t.Errorf("got %v", warnings)
	}
}

// TLS is ended at a destination that fails closed, which is said; elsewhere it passes.
func TestTLSPortWarns(t *testing.T) {
	for name, change := range map[string]func(*DestinationSpec){
		"closed": func(*DestinationSpec) {}, "open": func(d *DestinationSpec) { d.OnFailure = "open" },
		"observed": func(d *DestinationSpec) { d.Observe = true }, "another port": func(d *DestinationSpec) { d.Ports = []int{8443} },
	} {
		d := DestinationSpec{Name: "ledger", Hosts: []string{"ledger.internal"}, Ports: []int{80, 443}, Identities: []string{"billing"}}
		change(&d)
		_, warnings, err := Compile(Resources{Identities: []IdentitySpec{billing}, Destinations: []DestinationSpec{d}}, host)
		if err != nil || (len(warnings) == 1 && warnings[0].Path == "destinations[0].ports[1]") != (name == "closed") {
			t.Errorf("%s: %v, %v", name, warnings, err)
		}
	}
}
