package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The modules on which the real go test runs here.
const (
	passing = `package m
import "testing"
func TestA(t *testing.T) { t.Run("one", func(t *testing.T) {}); t.Run("two", func(t *testing.T) {}) }
`
	failing = `package m
import "testing"
func TestA(t *testing.T) { t.Run("good", func(t *testing.T) {}); t.Run("bad", func(t *testing.T) { t.Error("got 1, want 2") }) }
func TestB(t *testing.T) { t.Error("of its own") }
`
	skipping = `package m
import "testing"
func TestA(t *testing.T) { t.Skip("needs root") }
func TestB(t *testing.T) { t.Skip("needs root") }
func TestC(t *testing.T) {}
`
	counting = `package m
import ("fmt"; "testing")
func TestA(t *testing.T) { t.Log("counts: 7 cases"); t.Run("sub", func(t *testing.T) { fmt.Println("counts: 8 cases") }); t.Log("no counts: 9") }
func TestB(t *testing.T) { t.Log("counts: 10 cases"); t.Fail() }
`
	notBuilding = `package m
import "testing"
func TestA(t *testing.T) { undefinedThing() }
`
	notVetting = `package m
import "testing"
func TestA(t *testing.T) { t.Errorf("%d", "text") }
`
	panicking = `package m
import "testing"
func TestA(t *testing.T) {}
func TestB(t *testing.T) { t.Run("sub", func(t *testing.T) { panic("lost") }) }
func TestC(t *testing.T) {}
`
	exiting = `package m
import ("os"; "testing")
func TestA(t *testing.T) {}
func TestB(t *testing.T) { os.Exit(3) }
`
	inMain = `package m
import ("os"; "testing"; "fmt")
func TestMain(m *testing.M) { fmt.Println("no database"); os.Exit(1) }
func TestA(t *testing.T) {}
`
	hanging = `package m
import ("testing"; "time")
func TestA(t *testing.T) { time.Sleep(time.Hour) }
`
)

// module writes a module with one package for each source and enters it.
func module(t *testing.T, sources ...string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.org/m\n\ngo 1.26\n")
	for i, source := range sources {
		write(string(rune('a'+i))+"/m_test.go", source)
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", "off")
}

func TestSummary(t *testing.T) {
	tests := []struct {
		name    string
		sources []string
		args    []string
		ci      bool
		last    string
		ok      bool
		says    []string
		not     []string
	}{
		{"all pass", []string{passing, passing}, nil, true, "6 passed, 0 failed, 0 skipped", true,
			[]string{"ok    example.org/m/a (3 tests,"}, nil},
		{"a failure shows its output", []string{failing, passing}, nil, false, "4 passed, 3 failed, 0 skipped", false,
			[]string{"FAIL  example.org/m/a TestA/bad\n", "m_test.go:3: got 1, want 2", "of its own"},
			[]string{"FAIL  example.org/m/a TestA\n", "=== RUN", "--- FAIL"}},
		{"a skip is no failure", []string{skipping}, nil, false, "1 passed, 0 failed, 2 skipped", true,
			[]string{"skip  example.org/m/a TestA and 1 more: needs root\n"}, []string{"CI=true"}},
		{"a skip is a failure in CI", []string{skipping}, nil, true, "1 passed, 0 failed, 2 skipped", false,
			[]string{"CI=true"}, nil},
		{"counts are shown", []string{counting}, nil, false, "2 passed, 1 failed, 0 skipped", false,
			[]string{"counts  example.org/m/a TestA: 7 cases\n", "counts  example.org/m/a TestA/sub: 8 cases\n", "counts  example.org/m/a TestB: 10 cases\n"},
			[]string{"no counts"}},
		{"a build failure counts", []string{notBuilding, passing}, nil, false, "3 passed, 1 failed, 0 skipped", false,
			[]string{"example.org/m/a does not build", "undefined: undefinedThing"}, nil},
		{"a vet failure counts", []string{notVetting, passing}, nil, false, "3 passed, 1 failed, 0 skipped", false,
			[]string{"has arg \"text\" of wrong type string"}, nil},
		{"a panic counts", []string{panicking}, nil, false, "1 passed, 2 failed, 0 skipped", false,
			[]string{"panic: lost"}, nil},
		{"a test that ends the process counts", []string{exiting}, nil, false, "1 passed, 1 failed, 0 skipped", false,
			[]string{"TestB"}, nil},
		{"a failure outside tests counts", []string{inMain}, nil, false, "0 passed, 1 failed, 0 skipped", false,
			[]string{"no database"}, nil},
		{"a test that hangs counts", []string{hanging}, []string{"-timeout=1s"}, false, "0 passed, 1 failed, 0 skipped", false,
			[]string{"test timed out after 1s"}, nil},
		{"a package that is not there counts", []string{passing}, []string{"./nowhere"}, false, "3 passed, 1 failed, 0 skipped", false,
			[]string{"nowhere"}, nil},
		{"a wrong argument counts", []string{passing}, []string{"-timeout=soon"}, false, "0 passed, 1 failed, 0 skipped", false,
			[]string{"go test"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.sources...)
			var out, errout bytes.Buffer
			ok, err := run(append(tt.args, "./..."), &out, &errout, tt.ci)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
			if got := lines[len(lines)-1]; got != tt.last || ok != tt.ok {
				t.Errorf("last line %q, ok %v; want %q, %v\n%s", got, ok, tt.last, tt.ok, out.String())
			}
			for _, text := range tt.says {
				if !strings.Contains(out.String(), text) {
					t.Errorf("does not say %q:\n%s", text, out.String())
				}
			}
			for _, text := range tt.not {
				if strings.Contains(out.String(), text) {
					t.Errorf("says %q:\n%s", text, out.String())
				}
			}
		})
	}
}

func TestCountsAreBounded(t *testing.T) {
	c := newTally()
	for range 1000 {
		c.take(event{Action: "output", Package: "p", Test: "T", Output: "    a_test.go:1: counts: 1\n"})
	}
	c.take(event{Action: "pass", Package: "p", Test: "T"})
	if len(c.counted) != maxCounted || c.counted[0] != "p T: 1" {
		t.Errorf("%d lines, the first of them %q", len(c.counted), c.counted[0])
	}
}

func TestOutputIsBounded(t *testing.T) {
	c := newTally()
	for range 100 {
		c.take(event{Action: "output", Package: "p", Test: "T", Output: strings.Repeat("x", 8<<10)})
	}
	c.take(event{Action: "output", Package: "p", Test: "T", Output: "the end\n"})
	c.take(event{Action: "fail", Package: "p", Test: "T"})
	output := c.failures[0].output
	if len(output) > 3*maxOutput || !strings.HasSuffix(output, "the end\n") {
		t.Errorf("kept %d bytes that end in %q", len(output), output[len(output)-10:])
	}
}
