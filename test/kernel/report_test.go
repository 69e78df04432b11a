//go:build linux

package kernel

import (
	"slices"
	"strings"
	"testing"
)

// guestReport is what a guest writes to the serial port: one program that passes
// in part, and one that dies in its first test.
const guestReport = "noise before\n" +
	"LANYARD-GUEST begin 0\n" +
	"\x16=== RUN   TestA\n" +
	"\x16=== RUN   TestA/x/y\n" +
	"    a_test.go:7: wrong\n" +
	"\x16--- FAIL: TestA/x/y (0.00s)\n" +
	"\x16=== NAME  TestA\n" +
	"\x16--- FAIL: TestA (0.00s)\n" +
	"\x16=== RUN   TestB\n" +
	"    b_test.go:8: not today\n" +
	"\x16--- SKIP: TestB (0.00s)\n" +
	"\x16=== NAME  \n" +
	"FAIL\r\n" +
	"LANYARD-GUEST end 0 1\r\n" +
	"LANYARD-GUEST begin 1\n" +
	"\x16=== RUN   TestC\n" +
	"panic: oh\n"

func TestTranscriptIsSortedByProgram(t *testing.T) {
	var logged []string
	report := readTranscript(strings.NewReader(guestReport), func(line string) { logged = append(logged, line) })
	if report.done {
		t.Error("a report without its last line counts as done")
	}
	if status, ended := report.status[0]; !ended || status != 1 {
		t.Errorf("program 0 ended: %v, status %d; want status 1", ended, status)
	}
	if _, ended := report.status[1]; ended {
		t.Error("program 1 counts as ended")
	}
	if slices.Contains(report.output[0], "noise before") || !slices.Contains(report.output[1], "panic: oh") {
		t.Errorf("output is not with its program: %v", report.output)
	}
	if !slices.Contains(logged, "noise before") || slices.Contains(logged, "=== NAME  TestA") {
		t.Errorf("logged %q", logged)
	}
}

func TestResultsAreATree(t *testing.T) {
	report := readTranscript(strings.NewReader(guestReport), func(string) {})
	root, err := parseOutput(t, "example.test/p", report.output[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outline(root), "[TestA=fail[x/y=fail[]] TestB=skip[]]"; got != want {
		t.Errorf("results are %s, want %s", got, want)
	}
	if output := root.parts[0].parts[0].output.String(); !strings.Contains(output, "a_test.go:7: wrong") {
		t.Errorf("output of the sub-test is %q", output)
	}
	root, err = parseOutput(t, "example.test/p", report.output[1])
	if err != nil {
		t.Fatal(err)
	}
	if root.parts[0].action == "pass" {
		t.Error("a test that died counts as passed")
	}
}

func outline(r *result) string {
	var parts []string
	for _, part := range r.parts {
		parts = append(parts, part.name+"="+part.action+outline(part))
	}
	return "[" + strings.Join(parts, " ") + "]"
}
