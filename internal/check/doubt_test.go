package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func guarded(t *testing.T, change func(*registry.DestinationSpec), identities ...registry.IdentitySpec) *registry.Policy {
	t.Helper()
	d := registry.DestinationSpec{Name: "ledger", Hosts: []string{"ledger.test", "192.0.2.7"}, Ports: []int{443, 8700}, Addresses: []string{"10.96.0.0/16"}}
	for _, identity := range identities {
		d.Identities = append(d.Identities, identity.Name)
	}
	if change != nil {
		change(&d)
	}
	p, _, err := registry.Compile(registry.Resources{Identities: identities, Destinations: []registry.DestinationSpec{d}}, accounts{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDoubts(t *testing.T) {
	const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	oneName := func(string) uint64 { return 1 }
	long := strings.Repeat("u", 56) + ".service"
	for name, test := range map[string]struct {
		match workload.SelectorSpec
		links uint64
		says  string
	}{
		"file":                {workload.SelectorSpec{Executables: []string{"/usr/bin/a"}}, 1, ""},
		"file not here":       {workload.SelectorSpec{Executables: []string{"/usr/bin/a"}}, 0, ""},
		"user":                {workload.SelectorSpec{Users: []string{"billing"}}, 1, ""},
		"unit":                {workload.SelectorSpec{SystemdUnits: []string{"a.service"}}, 1, ""},
		"cgroup":              {workload.SelectorSpec{Cgroups: []string{"/a/b"}}, 1, ""},
		"longest unit":        {workload.SelectorSpec{SystemdUnits: []string{long[1:]}}, 1, ""},
		"file of two names":   {workload.SelectorSpec{Executables: []string{"/usr/bin/a"}}, 2, "/usr/bin/a is a file of 2 names"},
		"command line":        {workload.SelectorSpec{Executables: []string{"/usr/bin/a"}, CommandLines: []string{"a b"}}, 1, "its cmdline"},
		"pattern of a file":   {workload.SelectorSpec{Executables: []string{"/usr/bin/a", "/usr/*/a"}}, 1, "its exe is a pattern"},
		"digest":              {workload.SelectorSpec{SHA256: []string{digest}}, 1, "a sha256"},
		"file and digest":     {workload.SelectorSpec{Executables: []string{"/usr/bin/a"}, SHA256: []string{digest}}, 1, "a sha256"},
		"pattern of a unit":   {workload.SelectorSpec{SystemdUnits: []string{"a*.service"}}, 1, "its systemd_unit is a pattern"},
		"unit of a long name": {workload.SelectorSpec{SystemdUnits: []string{long}}, 1, "longer than the 63"},
		"pattern of a cgroup": {workload.SelectorSpec{Cgroups: []string{"/a/*"}}, 1, "its cgroup is a pattern"},
		"unit and cgroup":     {workload.SelectorSpec{SystemdUnits: []string{"a.service"}, Cgroups: []string{"/a.service/b"}}, 1, "together"},
		"patterns of both":    {workload.SelectorSpec{Executables: []string{"/*/a"}, SystemdUnits: []string{"a*.service"}}, 1, "recognised a process of it, and its systemd_unit"},
	} {
		test.match.AnyUser = len(test.match.Users) == 0
		p := guarded(t, nil, registry.IdentitySpec{Name: "x", Match: test.match})
		got := Doubts(p, func(string) uint64 { return test.links })
		if test.says == "" && len(got) != 0 || test.says != "" && (len(got) != 1 || !strings.Contains(got[0], test.says) || !strings.HasPrefix(got[0], "identity x: ")) {
			t.Errorf("%s: %q, want %q", name, got, test.says)
		}
	}
	pattern := anyUser("x", "/*/a")
	for name, change := range map[string]func(*registry.DestinationSpec){
		"open":     func(d *registry.DestinationSpec) { d.OnFailure = "open" },
		"observed": func(d *registry.DestinationSpec) { d.Observe = true },
	} {
		if got := Doubts(guarded(t, change, pattern), oneName); len(got) != 0 {
			t.Errorf("%s: %q, and nobody is refused there", name, got)
		}
	}
	if got := Doubts(guarded(t, func(d *registry.DestinationSpec) { d.Identities = []string{"y"} }, pattern, anyUser("y", "/y")), oneName); len(got) != 0 {
		t.Errorf("not listed: %q", got)
	}
	var many []registry.IdentitySpec
	for i := range kernelIdentities {
		many = append(many, anyUser(fmt.Sprint("many-", i), fmt.Sprint("/", i)))
	}
	if got := Doubts(guarded(t, nil, many...), oneName); len(got) != 0 {
		t.Errorf("as many as fit: %q", got)
	}
	got := Doubts(guarded(t, nil, append(many, anyUser("more", "/more"))...), oneName)
	if len(got) != 1 || !strings.Contains(got[0], "65 identities") {
		t.Errorf("one more: %q", got)
	}
}

func TestUnreachable(t *testing.T) {
	servers := []Server{{"the API server", "10.96.0.1", 443}}
	for what, url := range map[string]string{
		"name": "https://Ledger.test./operator", "port": "http://192.0.2.7:8700", "mapped": "http://[::ffff:10.96.0.9]:8700",
		"other name": "https://other.test", "other port": "http://ledger.test", "other address": "https://10.97.0.1",
	} {
		s, ok := ServerAt(what, url)
		if !ok {
			t.Fatalf("%s is no URL of a server", url)
		}
		servers = append(servers, s)
	}
	want := []string{"mapped", "name", "port", "the API server"}
	for unknown, found := range map[string][]string{"": nil, "pass": nil, "refuse": want, "refuse_everywhere": want} {
		var closed []string
		for _, warning := range Unreachable(guarded(t, func(d *registry.DestinationSpec) { d.Unknown = unknown }, anyUser("x", "/x")), servers) {
			_, rest, _ := strings.Cut(warning, "would also close ")
			what, _, _ := strings.Cut(rest, " (")
			closed = append(closed, what)
		}
		if slices.Sort(closed); !slices.Equal(closed, found) {
			t.Errorf("unknown: %q closes %v, want %v", unknown, closed, found)
		}
	}
	for _, url := range []string{"", "http://", "http://h:x", ":", "ftp://h"} {
		if s, ok := ServerAt("it", url); ok {
			t.Errorf("%q is a server: %+v", url, s)
		}
	}
}
