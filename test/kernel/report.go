//go:build linux

package kernel

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// event is what `go tool test2json` says of a test.
type event struct {
	Action string
	Test   string
	Output string
}

// result is one test of the guest with its sub-tests.
type result struct {
	name   string // without the parent's name
	action string // pass, fail or skip; empty when it did not end
	output strings.Builder
	parts  []*result
}

// reportSuite makes the tests of a suite sub-tests of t.
func reportSuite(t *testing.T, suite Suite, guest *transcript, number int) {
	t.Helper()
	output, began := guest.output[number]
	if !began {
		t.Fatalf("the guest never started %s", suite.Package)
	}
	root, err := parseOutput(t, suite.Package, output)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range root.parts {
		part.report(t)
	}
	status, ended := guest.status[number]
	switch {
	case !ended:
		t.Errorf("%s did not end in the guest", suite.Package)
	case status != 0 && !t.Failed():
		t.Errorf("%s ended with status %d and no failed test:\n%s", suite.Package, status, strings.Join(output, "\n"))
	case len(root.parts) == 0:
		t.Errorf("%s ran no test that matches %q", suite.Package, suite.Run)
	}
}

// report repeats a result as a sub-test.
func (r *result) report(t *testing.T) {
	t.Run(r.name, func(t *testing.T) {
		for _, part := range r.parts {
			part.report(t)
		}
		switch r.action {
		case "pass":
		case "skip":
			t.Skip("in the guest: " + r.output.String())
		case "fail":
			t.Errorf("in the guest:\n%s", r.output.String())
		default:
			t.Errorf("did not end in the guest:\n%s", r.output.String())
		}
	})
}

// parseOutput makes a tree of the output of a test program.
func parseOutput(t *testing.T, pkg string, lines []string) (*result, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json", "-p", pkg)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run test2json: %w", err)
	}
	root := &result{}
	known := map[string]*result{"": root}
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var e event
		if err := decoder.Decode(&e); err == io.EOF {
			return root, nil
		} else if err != nil {
			return nil, fmt.Errorf("read test2json: %w", err)
		}
		if e.Test == "" {
			continue
		}
		if known[e.Test] == nil {
			known[e.Test] = addResult(known, e.Test)
		}
		known[e.Test].note(e)
	}
}

// addResult hangs a new result below the nearest known test.
func addResult(known map[string]*result, full string) *result {
	above := ""
	for i, c := range full {
		if c == '/' && known[full[:i]] != nil {
			above = full[:i]
		}
	}
	added := &result{name: strings.TrimPrefix(strings.TrimPrefix(full, above), "/")}
	known[above].parts = append(known[above].parts, added)
	return added
}

// note adds what an event says.
func (r *result) note(e event) {
	switch e.Action {
	case "output":
		r.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		r.action = e.Action
	}
}
