package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// print writes what failed, what was skipped and why, and the one line. What is
// in the way of success stands next to it.
func (t *tally) print(out io.Writer, skipFails bool) {
	for _, f := range t.failures {
		output := explain(f.output)
		if output == "" && t.explained(f.name) {
			continue // a parent of a failed sub-test, with nothing of its own to say
		}
		fmt.Fprintf(out, "\nFAIL  %s\n%s", f.name, indent(output))
	}
	for i, line := range t.counted {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "counts  %s\n", line)
	}
	if t.skipped > 0 {
		fmt.Fprintln(out)
	}
	for _, reason := range slices.Sorted(maps.Keys(t.skips)) {
		names := t.skips[reason]
		also := ""
		if len(names) > 1 {
			also = fmt.Sprintf(" and %d more", len(names)-1)
		}
		fmt.Fprintf(out, "skip  %s%s: %s\n", names[0], also, reason)
	}
	if t.skipped > 0 && skipFails {
		fmt.Fprintln(out, "skips are failures here (CI=true): install what they ask for")
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
}

// explained reports whether a sub-test of the named test failed too.
func (t *tally) explained(name string) bool {
	return slices.ContainsFunc(t.failures, func(f failure) bool { return strings.HasPrefix(f.name, name+"/") })
}

// noise is what the test binary prints about each test, whatever it does.
var noise = regexp.MustCompile(`^\s*(=== (RUN|PAUSE|CONT|NAME|ATTR)\b|--- (FAIL|PASS|SKIP):|FAIL\b|PASS$|ok\s|exit status )`)

// explain leaves of a test's output what says something about the failure.
func explain(output string) string {
	var kept strings.Builder
	for line := range strings.Lines(output) {
		if !noise.MatchString(strings.TrimRight(line, "\n")) {
			kept.WriteString(line)
		}
	}
	if strings.TrimSpace(kept.String()) == "" {
		return ""
	}
	return kept.String()
}

// countLines returns the lines of a test's output that begin with "counts: ",
// without it: what a test tried is worth seeing even if all went well.
func countLines(output string) (lines []string) {
	for line := range strings.Lines(output) {
		if counts, ok := strings.CutPrefix(skipPlace.ReplaceAllString(line, ""), "counts: "); ok {
			lines = append(lines, strings.TrimSpace(counts))
		}
	}
	return lines
}

var skipPlace = regexp.MustCompile(`^\s*\S+\.go:\d+: `)

// skipReason is the last thing a skipped test said, without the place.
func skipReason(output string) string {
	lines := strings.Split(strings.TrimSpace(explain(output)), "\n")
	reason := strings.TrimSpace(skipPlace.ReplaceAllString(lines[len(lines)-1], ""))
	if reason == "" {
		return "no reason given"
	}
	return reason
}

func indent(text string) string {
	var indented strings.Builder
	for line := range strings.Lines(text) {
		indented.WriteString("      " + strings.TrimPrefix(line, "    "))
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		indented.WriteString("\n")
	}
	return indented.String()
}
