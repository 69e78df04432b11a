package main

import (
	"fmt"
	"slices"
	"strings"
)

// maxOutput bounds what is kept of one test's output, in bytes; the beginning
// gives way, the end says what went wrong.
const maxOutput = 64 << 10

// maxCounted bounds the lines of counts that are kept of all tests.
const maxCounted = 256

// tally counts tests and keeps the output of those that need explaining.
type tally struct {
	passed, failed, skipped int

	running  map[test]*strings.Builder // tests and packages (Test is "") that have not ended
	builds   map[string]*strings.Builder
	broken   map[string]bool // packages in which a test has failed already
	counts   map[string]int  // tests that ended, by package
	counted  []string        // what tests said of how much they tried
	failures []failure
	skips    map[string][]string // tests by reason
}

type test struct{ Package, Test string }

func (t test) String() string {
	if t.Test == "" {
		return t.Package
	}
	return t.Package + " " + t.Test
}

type failure struct{ name, output string }

func newTally() *tally {
	return &tally{
		running: map[test]*strings.Builder{},
		builds:  map[string]*strings.Builder{},
		broken:  map[string]bool{},
		counts:  map[string]int{},
		skips:   map[string][]string{},
	}
}

// take counts an event, and returns a line to print now, or "".
func (t *tally) take(e event) string {
	id := test{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		t.running[id] = &strings.Builder{}
	case "output":
		keep(t.running, id, e.Output)
	case "build-output":
		keep(t.builds, e.ImportPath, e.Output)
	case "pass", "fail", "skip":
		output := outputOf(t.running, id)
		delete(t.running, id)
		if e.Test == "" {
			return t.endPackage(e, output)
		}
		t.endTest(e, id, output)
	}
	return ""
}

func (t *tally) endTest(e event, id test, output string) {
	t.counts[e.Package]++
	for _, line := range countLines(output) {
		if len(t.counted) < maxCounted {
			t.counted = append(t.counted, id.String()+": "+line)
		}
	}
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped++
		reason := skipReason(output)
		t.skips[reason] = append(t.skips[reason], id.String())
	case "fail":
		t.broken[e.Package] = true
		t.fail(id.String(), output)
	}
}

func (t *tally) endPackage(e event, output string) string {
	if e.Action != "fail" {
		if t.counts[e.Package] == 0 {
			return "" // no tests
		}
		return fmt.Sprintf("ok    %s (%d tests, %.1f s)", e.Package, t.counts[e.Package], e.Elapsed)
	}
	unfinished := t.endUnfinished(e.Package)
	switch {
	case e.FailedBuild != "":
		t.fail(e.Package+" does not build", outputOf(t.builds, e.FailedBuild)+output)
	case !t.broken[e.Package] && !unfinished:
		t.fail(e.Package, output)
	}
	return fmt.Sprintf("FAIL  %s (%.1f s)", e.Package, e.Elapsed)
}

// endUnfinished fails the tests of a package that never ended: it panicked, was
// killed or timed out.
func (t *tally) endUnfinished(pkg string) bool {
	var ids []test
	for id := range t.running {
		if pkg == "" || id.Package == pkg {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b test) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range ids {
		t.fail(id.String()+" did not end", outputOf(t.running, id))
		delete(t.running, id)
	}
	return len(ids) > 0
}

// finish fails what go test left unsaid.
func (t *tally) finish() { t.endUnfinished("") }

func (t *tally) fail(name, output string) {
	t.failed++
	t.failures = append(t.failures, failure{name, output})
}

func keep[K comparable](kept map[K]*strings.Builder, key K, output string) {
	b := kept[key]
	if b == nil {
		b = &strings.Builder{}
		kept[key] = b
	}
	if b.Len()+len(output) > 2*maxOutput {
		end := b.String()[max(0, b.Len()-maxOutput):]
		b.Reset()
		b.WriteString("…\n" + end)
	}
	b.WriteString(output)
}

func outputOf[K comparable](kept map[K]*strings.Builder, key K) string {
	if b := kept[key]; b != nil {
		return b.String()
	}
	return ""
}
