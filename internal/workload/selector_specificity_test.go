package workload

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMoreSpecificOrder(t *testing.T) {
	// From the least to the most specific, for one process.
	ladder := []SelectorSpec{
		{Groups: []string{"billing"}, AnyUser: true},
		{Users: []string{"billing"}},
		{Cgroups: []string{"/"}, AnyUser: true},
		{Cgroups: []string{"/system.slice"}},
		{Cgroups: []string{"/system.slice/billing.service"}},
		{SystemdUnits: []string{"*.service"}},
		{SystemdUnits: []string{"billing.service"}},
		{CommandLines: []string{"billing*"}, AnyUser: true},
		{Executables: []string{"/**"}, AnyUser: true},
		{Executables: []string{"/usr/local/bin/*"}, AnyUser: true},
		{Executables: []string{"/usr/local/bin/bill?ng"}, AnyUser: true},
		{Executables: []string{"/usr/local/bin/bill[a-z]ng"}, AnyUser: true},
		{Executables: []string{"/usr/local/bin/billing"}, AnyUser: true},
		{SHA256: []string{digest}, AnyUser: true},
		{Groups: []string{"billing"}, Users: []string{"billing"}},
		{Executables: []string{"/usr/local/bin/*"}, Users: []string{"billing"}},
		{SHA256: []string{digest}, Executables: []string{"/usr/local/bin/billing"}, Users: []string{"billing"}},
	}
	p := billing()
	var ranks []Specificity
	for _, spec := range ladder {
		rank, ok := mustSelect(t, spec).Specificity(p)
		if !ok {
			t.Fatalf("%+v misses", spec)
		}
		ranks = append(ranks, rank)
	}
	for i := range ranks {
		for j := range ranks {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := ranks[i].Compare(ranks[j]); got != want {
				t.Errorf("%+v against %+v: got %d, want %d", ladder[i], ladder[j], got, want)
			}
		}
	}
}

func TestClosestOfSeveralValuesDecides(t *testing.T) {
	p := billing()
	wide, _ := mustSelect(t, SelectorSpec{Executables: []string{"/usr/**"}, AnyUser: true}).Specificity(p)
	both, _ := mustSelect(t, SelectorSpec{Executables: []string{"/usr/**", "/usr/local/bin/billing", "/x"}, AnyUser: true}).Specificity(p)
	exact, _ := mustSelect(t, SelectorSpec{Executables: []string{"/usr/local/bin/billing"}, AnyUser: true}).Specificity(p)
	if both.Compare(wide) != 1 || both.Compare(exact) != 0 {
		t.Errorf("wide %v both %v exact %v", wide, both, exact)
	}
}

// TestNarrowingNeverLosesRank adds a kind to drawn selectors: each must rank
// above what it was.
func TestNarrowingNeverLosesRank(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	p := billing()
	for range 2000 {
		spec, kinds := drawSpec(r)
		if len(kinds) == len(SelectorKinds()) {
			continue
		}
		before, ok := mustSelect(t, spec).Specificity(p)
		if !ok {
			t.Fatalf("%+v misses", spec)
		}
		for _, kind := range SelectorKinds() {
			if slices.Contains(kinds, kind) || kind == KindUser && spec.AnyUser {
				continue
			}
			narrower := spec
			addKind(&narrower, kind, r)
			after, ok := mustSelect(t, narrower).Specificity(p)
			if !ok || after.Compare(before) != 1 || before.Compare(after) != -1 {
				t.Fatalf("%+v does not outrank %+v", narrower, spec)
			}
		}
	}
}

// drawSpec draws a selector that the process of billing meets.
func drawSpec(r *rand.Rand) (SelectorSpec, []SelectorKind) {
	kinds := SelectorKinds()
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+r.IntN(len(kinds))]
	var spec SelectorSpec
	spec.AnyUser = !slices.Contains(kinds, KindUser)
	for _, kind := range kinds {
		addKind(&spec, kind, r)
	}
	return spec, kinds
}

func addKind(spec *SelectorSpec, kind SelectorKind, r *rand.Rand) {
	pick := func(texts ...string) []string { return texts[:1+r.IntN(len(texts))] }
	switch kind {
	case KindExecutable:
		spec.Executables = pick("/usr/**", "/usr/local/bin/billing", "/no")
	case KindSHA256:
		spec.SHA256 = pick(digest)
	case KindCommandLine:
		spec.CommandLines = pick("*west", "billing*")
	case KindUser:
		spec.Users = pick("billing", "root")
	case KindGroup:
		spec.Groups = pick("billing", "root")
	case KindCgroup:
		spec.Cgroups = pick("/system.slice", "/")
	case KindSystemdUnit:
		spec.SystemdUnits = pick("b*.service", "*.service")
	}
}

func TestConditionNeverExcludesAMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	p := billing()
	for range 2000 {
		spec, _ := drawSpec(r)
		s := mustSelect(t, spec)
		c := s.Condition("")
		if !s.Match(p) {
			t.Fatalf("%+v misses", spec)
		}
		if c.ExecutableNames != nil && !slices.Contains(c.ExecutableNames, "billing") ||
			c.UIDs != nil && !slices.Contains(c.UIDs, p.UID) ||
			c.Cgroup != nil && !c.Cgroup(p.Cgroup) {
			t.Fatalf("%+v: the condition %+v excludes a process that matches", spec, c)
		}
	}
}

func TestConditionHoldsWhatAHookCanCheck(t *testing.T) {
	c := mustSelect(t, SelectorSpec{Executables: []string{"/usr/bin/curl", "/opt/*/curl", `/x/we\*ird`}, Users: []string{"root", "990"}}).Condition("")
	if !slices.Equal(c.ExecutableNames, []string{"curl", "we*ird"}) || !slices.Equal(c.UIDs, []uint32{0, 990}) || c.Cgroup != nil {
		t.Errorf("got %+v", c)
	}
	for _, open := range []string{"/usr/bin/*", "/usr/**", "/usr/bin/cur?"} {
		c = mustSelect(t, SelectorSpec{Executables: []string{"/usr/bin/curl", open}, AnyUser: true}).Condition("")
		if !c.IsZero() {
			t.Errorf("%q: got %+v", open, c)
		}
	}
	c = mustSelect(t, SelectorSpec{SystemdUnits: []string{"b.service"}, Cgroups: []string{"/system.slice"}}).Condition("")
	for path, want := range map[string]bool{
		"/system.slice/b.service":   true,
		"/system.slice/b.service/x": true,
		"/system.slice":             false,
		"/b.service":                false, // the unit, but not the cgroup
		"/":                         false,
	} {
		if got := c.Cgroup(path); got != want {
			t.Errorf("cgroup %q: got %v", path, got)
		}
	}
}
