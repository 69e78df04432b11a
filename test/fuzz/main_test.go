package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var errExit = errors.New("exit status 1")

// What go 1.26 prints.
const (
	ended = `fuzz: elapsed: 0s, gathering baseline coverage: 0/7 completed
fuzz: elapsed: 0s, gathering baseline coverage: 7/7 completed, now fuzzing with 2 workers
fuzz: elapsed: 3s, execs: 5974 (1991/sec), new interesting: 6 (total: 13)
fuzz: elapsed: 6s, execs: 15674 (3233/sec), new interesting: 8 (total: 15)
`
	tooLate = ended + `--- FAIL: FuzzHead (6.04s)
    context deadline exceeded
FAIL
`
	found = ended + `--- FAIL: FuzzHead (3.13s)
    --- FAIL: FuzzHead (0.00s)
        head_test.go:12: context deadline exceeded
    
    Failing input written to testdata/fuzz/FuzzHead/582528ddfad69eb5
    To re-run:
    go test -run=FuzzHead/582528ddfad69eb5
FAIL
`
	badSeed = `fuzz: elapsed: 0s, gathering baseline coverage: 0/2 completed
failure while testing seed corpus entry: FuzzHead/seed#1
fuzz: elapsed: 0s, gathering baseline coverage: 1/2 completed
--- FAIL: FuzzHead (0.05s)
    --- FAIL: FuzzHead (0.00s)
        head_test.go:12: wrong
    
FAIL
`
	blind = `warning: the test binary was not built with coverage instrumentation, so fuzzing will run without coverage guidance and may be inefficient
` + ended
	leftBehind = ended + `--- FAIL: FuzzHead (16.02s)
    head_test.go:149: a goroutine is left
FAIL
`
)

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		output string
		err    error
		fails  string // a part of the failure's line, "" for none
		again  string // a part of the advice
	}{
		"ended":                     {ended + "PASS\n", nil, "", ""},
		"ended while at work":       {tooLate, errExit, "", ""},
		"found something":           {found, errExit, "exit status 1", "go test -run='^FuzzHead$/^582528ddfad69eb5$' example.org/m/a"},
		"a seed fails":              {badSeed, errExit, "exit status 1", "go test -run='^FuzzHead$/^seed#1$' example.org/m/a"},
		"fails after the last":      {leftBehind, errExit, "exit status 1", "go test -run='^$' -fuzz='^FuzzHead$' example.org/m/a"},
		"does not count coverage":   {blind, nil, "without coverage", ""},
		"there is no such target":   {"testing: warning: no fuzz tests to fuzz\nPASS\n", nil, "tried nothing", ""},
		"ended without a word":      {"", errExit, "exit status 1", ""},
		"late, but nothing counted": {"--- FAIL: FuzzHead (6.04s)\n    context deadline exceeded\nFAIL\n", errExit, "exit status 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := judge(tt.output, tt.err)
			line := r.line(target{name: "FuzzHead", pkg: "example.org/m/a"})
			if failed := strings.HasPrefix(line, "FAIL  "); failed != (tt.fails != "") || !strings.Contains(line, tt.fails) {
				t.Errorf("line %q", line)
			}
			if tt.fails == "" && line != "ok    example.org/m/a FuzzHead: 15674 inputs, 8 new, 15 interesting" {
				t.Errorf("line %q", line)
			}
			if advice := r.advice(target{name: "FuzzHead", pkg: "example.org/m/a"}); tt.again != "" && !strings.HasSuffix(advice, tt.again) {
				t.Errorf("advice %q", advice)
			}
		})
	}
}

// module is one package with two targets, one of which has something to find
// after the first byte, and one without any.
var module = map[string]string{
	"go.mod": "module example.org/m\n\ngo 1.26\n",
	"a/a.go": "package a\n\nfunc Small(b []byte) bool { return len(b) == 0 || b[0] < 'x' }\n",
	"a/a_test.go": `package a

import "testing"

func FuzzSmall(f *testing.F) {
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !Small(b) {
			t.Error("not small")
		}
	})
}

func FuzzNothing(f *testing.F) { f.Fuzz(func(*testing.T, []byte) {}) }
`,
	"b/b_test.go": "package b\n\nimport \"testing\"\n\nfunc TestFuzzy(*testing.T) {}\n",
}

// Every target is found and run, and what one finds lies beside it.
func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range module {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	o := options{each: 10 * time.Second, only: regexp.MustCompile("Small"), parallel: 1, patterns: []string{"./..."}}
	err := run(t.Context(), o, &out)
	if err == nil || err.Error() != "1 of 1 targets failed" || !strings.HasPrefix(out.String(), "FAIL  example.org/m/a FuzzSmall: exit status 1\n") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	inputs, err := filepath.Glob("a/testdata/fuzz/FuzzSmall/*")
	if err != nil || len(inputs) != 1 {
		t.Fatalf("failing inputs %q (%v)\n%s", inputs, err, out.String())
	}
	if !strings.Contains(out.String(), "run it again: go test -run='^FuzzSmall$/^"+filepath.Base(inputs[0])+"$' example.org/m/a\n") {
		t.Errorf("it does not say how to run the input again:\n%s", out.String())
	}
	packages, err := list(t.Context(), []string{"./..."})
	if err != nil || len(packages) != 1 || packages[0].ImportPath != "example.org/m/a" {
		t.Fatalf("packages %+v (%v)", packages, err)
	}
	bin := target{pkg: packages[0].ImportPath, dir: packages[0].Dir, bin: filepath.Join(t.TempDir(), "a.test")}
	if names, err := bin.build(t.Context()); err != nil || !slices.Equal(slices.Sorted(slices.Values(names)), []string{"FuzzNothing", "FuzzSmall"}) {
		t.Errorf("targets %q (%v)", names, err)
	}
}
