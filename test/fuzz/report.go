package main

import (
	"fmt"
	"regexp"
	"strings"
)

// result is how one target went.
type result struct {
	execs       string
	interesting string // inputs found that reached something new
	total       string // with those that were there before
	failure     string // "" for none
	input       string // the failing one's name, where there is one
}

var (
	// progress is what a target prints every few seconds, and at its end.
	progress = regexp.MustCompile(`fuzz: elapsed: \S+, execs: (\d+) \(\d+/sec\), new interesting: (\d+) \(total: (\d+)\)`)
	// written names a failing input, or one of the seeds.
	written = regexp.MustCompile(`go test -run=(Fuzz\w+/\S+)`)
	seed    = regexp.MustCompile(`failure while testing seed corpus entry: (Fuzz\w+/\S+)`)
	// uninstrumented is what a binary says in which nothing counts coverage.
	uninstrumented = "not built with coverage instrumentation"
	// late is the only thing that a target says which failed because it was still
	// at work when its time ended. That is a race in go (issue 75804; gone with
	// 1.27), and no finding.
	late = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \(\S+\)\n\s+context deadline exceeded\nFAIL\n*\z`)
)

// judge reads what a target printed and how it ended.
func judge(output string, err error) result {
	var r result
	if all := progress.FindAllStringSubmatch(output, -1); all != nil {
		last := all[len(all)-1]
		r.execs, r.interesting, r.total = last[1], last[2], last[3]
	}
	for _, names := range []*regexp.Regexp{written, seed} {
		if m := names.FindStringSubmatch(output); m != nil {
			r.input = m[1]
		}
	}
	switch {
	case strings.Contains(output, uninstrumented):
		r.failure = "was built without coverage instrumentation"
	case err == nil && r.execs == "":
		r.failure = "tried nothing"
	case err != nil && (r.input != "" || r.execs == "" || !late.MatchString(output)):
		r.failure = err.Error()
	}
	return r
}

// line is the target's line of the report.
func (r result) line(t target) string {
	if r.failure != "" {
		return fmt.Sprintf("FAIL  %s %s: %s", t.pkg, t.name, r.failure)
	}
	return fmt.Sprintf("ok    %s %s: %s inputs, %s new, %s interesting", t.pkg, t.name, r.execs, r.interesting, r.total)
}

// advice says how to see a failure again.
func (r result) advice(t target) string {
	if r.input == "" {
		return fmt.Sprintf("run it again: go test -run='^$' -fuzz='^%s$' %s", t.name, t.pkg)
	}
	return fmt.Sprintf("run it again: go test -run='^%s$' %s", strings.Replace(r.input, "/", "$/^", 1), t.pkg)
}
