package registry

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestDestinationPrefersTheExactThenTheLonger(t *testing.T) {
	at := func(name string, ports []int, hosts ...string) DestinationSpec {
		return DestinationSpec{Name: name, Hosts: hosts, Ports: ports, Addresses: []string{"10.0.0.0/8"}, Identities: []string{"billing"}}
	}
	p := mustCompile(t, []IdentitySpec{billing},
		at("short", []int{80, 443}, "*.example.org"),
		at("long", []int{80}, "*.api.example.org"),
		at("exact", []int{80}, "x.api.example.org", "2001:db8::1", "10.0.0.1"))
	for _, tc := range []struct {
		host string
		port uint16
		want string
	}{
		{"x.api.example.org", 80, "exact"},
		{"x.api.example.org", 443, "short"},
		{"y.api.example.org", 80, "long"},
		{"a.b.api.example.org", 80, "long"},
		{"api.example.org", 80, "short"},
		{"www.example.org", 443, "short"},
		{"example.org", 80, ""},
		{".example.org", 80, ""},
		{"badexample.org", 80, ""},
		{"www.example.org", 8080, ""},
		{"2001:db8:0::1", 80, "exact"},
		{"::ffff:10.0.0.1", 80, "exact"},
		{"2001:db8::1%eth0", 80, ""},
		{"2001:db8::2", 80, ""},
		{"a:b", 80, ""},
		{"", 80, ""},
	} {
		got := ""
		if d := p.Destination(tc.host, tc.port); d != nil {
			got = d.Name
		}
		if got != tc.want {
			t.Errorf("%s port %d: got %q, want %q", tc.host, tc.port, got, tc.want)
		}
	}
}

func TestDestinationDoesNotAllocate(t *testing.T) {
	p := mustCompile(t, []IdentitySpec{billing}, DestinationSpec{Name: "w", Hosts: []string{"*.example.org"}, Ports: []int{443}, Identities: []string{"billing"}})
	if n := testing.AllocsPerRun(100, func() { p.Destination("a.b.c.example.org", 443) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// pool holds selectors of which many match the drawn processes, some equally
// well.
func pool() []workload.SelectorSpec {
	return []workload.SelectorSpec{
		{Executables: []string{"/bin/a"}, AnyUser: true},
		{Executables: []string{"/bin/*"}, AnyUser: true},
		{Executables: []string{"/bin/?"}, AnyUser: true},
		{Executables: []string{"/bin/a", "/bin/b"}, Users: []string{"root"}},
		{Executables: []string{"/bin/*"}, Users: []string{"root", "billing"}},
		{Users: []string{"root"}},
		{Users: []string{"billing"}},
		{Users: []string{"0", "990"}},
		{Groups: []string{"root"}, AnyUser: true},
		{Cgroups: []string{"/s.slice"}},
		{Cgroups: []string{"/s.slice/u.service"}},
		{SystemdUnits: []string{"u.service"}},
		{SystemdUnits: []string{"*.service"}},
		{SystemdUnits: []string{"u.service"}, Users: []string{"root"}},
		{Executables: []string{"/bin/b"}, Cgroups: []string{"/s.slice/*"}},
	}
}

func drawProcess(r *rand.Rand) *workload.Process {
	cgroup := []string{"/", "/s.slice", "/s.slice/u.service", "/s.slice/v.service/x"}[r.IntN(4)]
	return &workload.Process{
		Image:       workload.Image{PID: uint32(r.IntN(9))},
		UID:         []uint32{0, 990, 7}[r.IntN(3)],
		GID:         []uint32{0, 990}[r.IntN(2)],
		Executable:  []string{"/bin/a", "/bin/b", "/opt/c", ""}[r.IntN(4)],
		Cgroup:      cgroup,
		SystemdUnit: workload.SystemdUnit(cgroup),
	}
}

// outcome is what Identify said, as text.
func outcome(p *Policy, process *workload.Process) string {
	identity, err := p.Identify(process)
	switch {
	case err != nil:
		return err.Error()
	case identity == nil:
		return "none"
	}
	return identity.Name
}

func TestIdentifyProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	ties, singles, none := 0, 0, 0
	for range 3000 {
		specs := pool()
		r.Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
		var identities []IdentitySpec
		for i, spec := range specs[:1+r.IntN(6)] {
			identities = append(identities, identity(fmt.Sprintf("i%d", i), spec))
		}
		process := drawProcess(r)
		p := mustCompile(t, identities)
		got, err := p.Identify(process)

		// The plainest reading of the rule: sort what matches, take the first.
		var want []string
		if groups := byRank(p, process); len(groups) > 0 {
			want = groups[0]
		}
		var tie *workload.AmbiguousError
		switch {
		case errors.As(err, &tie):
			ties++
			if got != nil || len(want) < 2 || !slices.Equal(tie.Identities, want) || tie.Image != process.Image {
				t.Fatalf("tie %v, want %v", tie, want)
			}
		case err != nil:
			t.Fatal(err)
		case got == nil:
			none++
			if len(want) != 0 {
				t.Fatalf("none, want %v", want)
			}
		default:
			singles++
			if len(want) != 1 || want[0] != got.Name {
				t.Fatalf("got %v, want %v", got.Name, want)
			}
		}

		// The order of writing makes no difference.
		r.Shuffle(len(identities), func(i, j int) { identities[i], identities[j] = identities[j], identities[i] })
		if a, b := outcome(p, process), outcome(mustCompile(t, identities), process); a != b {
			t.Fatalf("%q in one order, %q in another", a, b)
		}
	}
	if ties < 50 || singles < 100 || none < 100 {
		t.Fatalf("too few of a kind: %d ties, %d single, %d none", ties, singles, none)
	}
}

// byRank groups the identities that match by specificity, the most specific
// group first, names sorted within each.
func byRank(p *Policy, process *workload.Process) [][]string {
	type match struct {
		name string
		rank workload.Specificity
	}
	var matches []match
	for _, identity := range p.Identities() {
		if rank, ok := identity.Selector.Specificity(process); ok {
			matches = append(matches, match{identity.Name, rank})
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(b.rank.Compare(a.rank), cmp.Compare(a.name, b.name))
	})
	var groups [][]string
	for i, m := range matches {
		if i == 0 || m.rank != matches[i-1].rank {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], m.name)
	}
	return groups
}

func TestTieNamesBoth(t *testing.T) {
	p := mustCompile(t, []IdentitySpec{identity("b", workload.SelectorSpec{Users: []string{"0"}}), identity("a", workload.SelectorSpec{Users: []string{"root"}})})
	_, err := p.Identify(&workload.Process{})
	if err == nil || !strings.Contains(err.Error(), "a and b") {
		t.Errorf("got %v", err)
	}
}

func TestIdentifyDoesNotAllocate(t *testing.T) {
	p := mustCompile(t, []IdentitySpec{
		identity("exact", workload.SelectorSpec{Executables: []string{"/bin/a"}, Users: []string{"root"}}),
		identity("wide", workload.SelectorSpec{Executables: []string{"/**"}, Cgroups: []string{"/s.slice"}, SystemdUnits: []string{"*.service"}}),
	})
	process := &workload.Process{Executable: "/bin/a", Cgroup: "/s.slice/u.service", SystemdUnit: "u.service"}
	if n := testing.AllocsPerRun(100, func() {
		if id, err := p.Identify(process); id == nil || err != nil {
			t.Errorf("got %v, %v", id, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWatch(t *testing.T) {
	at := func(name string, ports []int, addresses []string, hosts ...string) DestinationSpec {
		return DestinationSpec{Name: name, Hosts: hosts, Ports: ports, Addresses: addresses, Identities: []string{"billing"}}
	}
	destinations := []DestinationSpec{
		at("a", []int{8080, 443}, []string{"10.1.0.0/16", "10.0.0.0/8"}, "a", "192.0.2.1"),
		at("b", []int{8080}, []string{"10.0.0.0/8", "2001:db8::/32"}, "b"),
		at("c", []int{443, 80}, nil, "c"),
	}
	open := identity("open", workload.SelectorSpec{Executables: []string{"/bin/curl"}, AnyUser: true})
	w := mustCompile(t, []IdentitySpec{open, billing}, destinations...).Watch()
	if got := fmt.Sprint(w.Ports); got != "[{80 []} {443 []} {8080 [10.0.0.0/8 192.0.2.1/32 2001:db8::/32]}]" {
		t.Errorf("ports %v", got)
	}
	if w.Ports[1].Prefixes != nil {
		t.Error("a port without a bound is an empty list, which is nothing, instead of nil, which is everything")
	}
	if len(w.Conditions) != 2 || !slices.Equal(w.Conditions[0].UIDs, []uint32{990}) || !slices.Equal(w.Conditions[1].ExecutableNames, []string{"curl"}) {
		t.Errorf("conditions %+v", w.Conditions)
	}
	slices.Reverse(destinations)
	if again := mustCompile(t, []IdentitySpec{billing, open}, destinations...).Watch(); !reflect.DeepEqual(w.Ports, again.Ports) {
		t.Errorf("order of writing makes a difference: %v", again.Ports)
	}
}

func TestNeeds(t *testing.T) {
	p := mustCompile(t, []IdentitySpec{billing, identity("x", workload.SelectorSpec{CommandLines: []string{"x*"}, Users: []string{"root"}})})
	if !p.Needs(workload.KindCommandLine) || p.Needs(workload.KindSHA256) {
		t.Error("wrong facts wanted")
	}
	if p.Identity("x") == nil || p.Identity("y") != nil || len(p.Destinations()) != 0 {
		t.Error("wrong lists")
	}
}

func TestRegistrySwaps(t *testing.T) {
	a, b := mustCompile(t, nil), mustCompile(t, []IdentitySpec{billing})
	r := New(a)
	if r.Current() != a || r.Swap(b) != a || r.Current() != b {
		t.Error("did not swap")
	}
}

func TestAtPort(t *testing.T) {
	at := func(name string, ports ...int) DestinationSpec {
		return DestinationSpec{Name: name, Hosts: []string{name + ".internal"}, Ports: ports, Identities: []string{"billing"}}
	}
	p := mustCompile(t, []IdentitySpec{billing}, at("b", 80, 81), at("a", 80))
	for port, want := range map[uint16]string{80: "a b ", 81: "b ", 82: ""} {
		got := ""
		for _, d := range p.AtPort(port) {
			got += d.Name + " "
		}
		if got != want {
			t.Errorf("at port %d: %q, want %q", port, got, want)
		}
	}
}
