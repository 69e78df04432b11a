package workload

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// accounts is a host with these users, each with a group of the same number.
type accounts map[string]uint32

func (a accounts) UserID(name string) (uint32, error)  { return a.find("user", name) }
func (a accounts) GroupID(name string) (uint32, error) { return a.find("group", name) }

func (a accounts) find(what, name string) (uint32, error) {
	if id, ok := a[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("this host has no %s %q", what, name)
}

var host = accounts{"root": 0, "billing": 990}

const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// billing is a process that meets every condition of the tests.
func billing() *Process {
	return &Process{
		Image: Image{PID: 7, StartTime: 1, ExecID: 2},
		UID:   990, GID: 990, User: "billing", Group: "billing",
		Executable:  "/usr/local/bin/billing",
		SHA256:      digest,
		CommandLine: []string{"billing", "--region", "eu west"},
		CgroupID:    12,
		Cgroup:      "/system.slice/billing.service/main",
		SystemdUnit: "billing.service",
	}
}

func mustSelect(t *testing.T, spec SelectorSpec) Selector {
	t.Helper()
	s, err := NewSelector(spec, host)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEachKindMatchesAndMisses(t *testing.T) {
	for _, tc := range []struct {
		kind      SelectorKind
		hit, miss SelectorSpec
		had       string
		withoutIt func(*Process) // takes the fact away: unknown never matches
	}{
		{kind: KindExecutable, hit: SelectorSpec{Executables: []string{"/usr/**/billing"}}, miss: SelectorSpec{Executables: []string{"/usr/bin/*"}},
			had: "/usr/local/bin/billing", withoutIt: func(p *Process) { p.Executable = "" }},
		{kind: KindSHA256, hit: SelectorSpec{SHA256: []string{strings.ToUpper(digest)}}, miss: SelectorSpec{SHA256: []string{strings.Repeat("0", 64)}},
			had: digest, withoutIt: func(p *Process) { p.SHA256 = "" }},
		{kind: KindCommandLine, hit: SelectorSpec{CommandLines: []string{"billing * eu west"}}, miss: SelectorSpec{CommandLines: []string{"billing"}},
			had: "billing --region eu west", withoutIt: func(p *Process) { p.CommandLine = nil }},
		{kind: KindUser, hit: SelectorSpec{Users: []string{"root", "990"}}, miss: SelectorSpec{Users: []string{"root"}}, had: "billing"},
		{kind: KindGroup, hit: SelectorSpec{Groups: []string{"billing"}}, miss: SelectorSpec{Groups: []string{"0"}}, had: "billing"},
		{kind: KindCgroup, hit: SelectorSpec{Cgroups: []string{"/system.slice/billing.service"}}, miss: SelectorSpec{Cgroups: []string{"/system.slice/billing"}},
			had: "/system.slice/billing.service/main", withoutIt: func(p *Process) { p.Cgroup = "" }},
		{kind: KindSystemdUnit, hit: SelectorSpec{SystemdUnits: []string{"bill*.service"}}, miss: SelectorSpec{SystemdUnits: []string{"bill.service"}},
			had: "billing.service", withoutIt: func(p *Process) { p.SystemdUnit = "" }},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			tc.hit.AnyUser = tc.kind != KindUser
			tc.miss.AnyUser = tc.kind != KindUser
			hit, miss := mustSelect(t, tc.hit), mustSelect(t, tc.miss)
			p := billing()
			if !hit.Match(p) || len(hit.Mismatches(p)) != 0 {
				t.Errorf("misses %v: %v", tc.hit, hit.Mismatches(p))
			}
			if miss.Match(p) {
				t.Errorf("matches %v", tc.miss)
			}
			if _, ok := miss.Specificity(p); ok {
				t.Error("a miss has a specificity")
			}
			missed := miss.Mismatches(p)
			if len(missed) != 1 || missed[0].Kind != tc.kind || missed[0].Had != tc.had || missed[0].Wanted[0] != miss.Values(tc.kind)[0] {
				t.Errorf("mismatches: %+v", missed)
			}
			if tc.withoutIt != nil {
				tc.withoutIt(p)
				if hit.Match(p) {
					t.Error("an unknown fact matches")
				}
			}
		})
	}
}

func TestUnknownExecutableSaysWhy(t *testing.T) {
	s := mustSelect(t, SelectorSpec{Executables: []string{"/usr/bin/curl"}, AnyUser: true})
	missed := s.Mismatches(&Process{ExecutableNote: "memfd"})
	if len(missed) != 1 || missed[0].Had != "memfd" {
		t.Errorf("got %+v", missed)
	}
}

func TestZeroSelectorMatchesNothing(t *testing.T) {
	var s Selector
	if s.Match(billing()) || s.Match(&Process{}) {
		t.Error("the zero selector matches")
	}
	if _, ok := s.Specificity(billing()); ok {
		t.Error("the zero selector has a specificity")
	}
}

func TestSelectorThatCanNeverMatchIsRefused(t *testing.T) {
	who := []string{"root"}
	for name, tc := range map[string]struct {
		spec SelectorSpec
		says string // what the error must hold
	}{
		"relative exe":         {SelectorSpec{Executables: []string{"bin/curl"}, Users: who}, "write it from / on"},
		"exe is a folder":      {SelectorSpec{Executables: []string{"/"}, Users: who}, "name the program"},
		"exe ends in slash":    {SelectorSpec{Executables: []string{"/usr/bin/"}, Users: who}, "ends in a slash"},
		"exe deleted":          {SelectorSpec{Executables: []string{"/usr/bin/x (deleted)"}, Users: who}, "leave"},
		"exe zero byte":        {SelectorSpec{Executables: []string{"/x\x00y"}, Users: who}, "zero byte"},
		"exe too long":         {SelectorSpec{Executables: []string{"/" + strings.Repeat("x", maxPattern)}, Users: who}, "longer than"},
		"digest short":         {SelectorSpec{SHA256: []string{digest[1:]}, Users: who}, "64 hexadecimal"},
		"digest not hex":       {SelectorSpec{SHA256: []string{"g" + digest[1:]}, Users: who}, "64 hexadecimal"},
		"digest with prefix":   {SelectorSpec{SHA256: []string{"sha256:" + digest}, Users: who}, "64 hexadecimal"},
		"no such user":         {SelectorSpec{Users: []string{"nobody-here"}}, "no user"},
		"no such group":        {SelectorSpec{Groups: []string{"nobody-here"}, Users: who}, "no group"},
		"user pattern":         {SelectorSpec{Users: []string{"bill*"}}, "not a pattern"},
		"user number too high": {SelectorSpec{Users: []string{"4294967295"}}, "4294967294"},
		"user number overflow": {SelectorSpec{Users: []string{"99999999999"}}, "4294967294"},
		"relative cgroup":      {SelectorSpec{Cgroups: []string{"system.slice"}}, "write it from / on"},
		"unit is a path":       {SelectorSpec{SystemdUnits: []string{"/system.slice/x.service"}}, "use cgroup"},
		"unit without suffix":  {SelectorSpec{SystemdUnits: []string{"billing"}}, "write billing.service"},
		"unit is a timer":      {SelectorSpec{SystemdUnits: []string{"b*.timer"}}, "no unit with processes"},
		"unit is a slice":      {SelectorSpec{SystemdUnits: []string{"system.slice"}}, "use cgroup"},
		"unit of a user":       {SelectorSpec{SystemdUnits: []string{"user@1000.service"}}, "use user"},
		"malformed pattern":    {SelectorSpec{CommandLines: []string{"x["}, Users: who}, "not closed"},
		"empty value":          {SelectorSpec{CommandLines: []string{""}, Users: who}, "empty"},
		"empty list":           {SelectorSpec{Executables: []string{}, Users: who}, "empty"},
		"listed twice":         {SelectorSpec{Users: []string{"root", "root"}}, "twice"},
		"nothing":              {SelectorSpec{}, "no condition"},
		"nothing but any_user": {SelectorSpec{AnyUser: true}, "no condition"},
		"user and any_user":    {SelectorSpec{Users: who, AnyUser: true}, "contradicts any_user"},
		"nobody said who":      {SelectorSpec{Executables: []string{"/usr/bin/curl"}}, "any_user: true"},
		"group is not who":     {SelectorSpec{Groups: who}, "any_user: true"},
		"digest is not who":    {SelectorSpec{SHA256: []string{digest}, CommandLines: []string{"x"}}, "any_user: true"},
		"cgroup of all":        {SelectorSpec{Executables: []string{"/usr/bin/curl"}, Cgroups: []string{"/"}}, "any_user: true"},
		"cgroup pattern of all": {
			SelectorSpec{Executables: []string{"/usr/bin/curl"}, Cgroups: []string{"/system.slice", "/**"}}, "any_user: true"},
		"unit pattern of all": {SelectorSpec{Executables: []string{"/usr/bin/curl"}, SystemdUnits: []string{"*"}}, "any_user: true"},
		"unit not in cgroup": {
			SelectorSpec{Cgroups: []string{"/system.slice/a.service"}, SystemdUnits: []string{"b.service"}}, "contradicts systemd_unit"},
		"no unit in cgroup": {
			SelectorSpec{Cgroups: []string{"/docker/x"}, SystemdUnits: []string{"b.service"}}, "contradicts systemd_unit"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSelector(tc.spec, host)
			var wrong SelectorErrors
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%q does not say %q", err, tc.says)
			}
			if s.Match(billing()) || len(s.Kinds()) != 0 {
				t.Error("an invalid selector was made")
			}
		})
	}
}

func TestErrorsNameEveryValue(t *testing.T) {
	_, err := NewSelector(SelectorSpec{Executables: []string{"/ok", "bad"}, Users: []string{"nobody-here"}}, host)
	var wrong SelectorErrors
	if !errors.As(err, &wrong) || len(wrong) != 2 {
		t.Fatalf("got %v", err)
	}
	if wrong[0].Kind != KindExecutable || wrong[0].Index != 1 || wrong[1].Kind != KindUser || wrong[1].Index != 0 {
		t.Errorf("got %+v %+v", wrong[0], wrong[1])
	}
}

func TestUnitMayBeBelowItsSlices(t *testing.T) {
	for _, cgroup := range []string{"/", "/system.slice", "/system.slice/b.service", "/system.slice/b.service/x", "/*/b.service"} {
		mustSelect(t, SelectorSpec{Cgroups: []string{cgroup}, SystemdUnits: []string{"b.service"}})
	}
}

func TestAnyUserIsAllowedWhenSaid(t *testing.T) {
	s := mustSelect(t, SelectorSpec{Executables: []string{"/usr/local/bin/billing"}, AnyUser: true})
	if !s.Match(billing()) {
		t.Error("misses")
	}
}
