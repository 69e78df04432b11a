// Command summary runs go test and says in one line how it went. It prints a
// line for each package as it ends, then what failed with its output, what tests
// said of how much they tried (their lines "counts: …", of whatever outcome), what
// was skipped with its reason, and last exactly one line:
//
//	N passed, N failed, N skipped
//
// counted over all tests and sub-tests of all packages. A package that does not
// build, or that ends without saying how a test went, is a failure. With CI=true
// a skip is one too.
//
// It must not know what is tested. Its arguments are those of go test.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// maxLine bounds one line of go test's output, in bytes; test output comes in
// pieces far below it.
const maxLine = 16 << 20

func main() {
	passed, err := run(os.Args[1:], os.Stdout, os.Stderr, os.Getenv("CI") == "true")
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

// run runs go test -json with args and reports to out whether all is well.
func run(args []string, out, errout io.Writer, skipFails bool) (bool, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = errout
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	t := newTally()
	readErr := t.read(events, out)
	_, drainErr := io.Copy(io.Discard, events)
	waitErr := cmd.Wait()
	if err := errors.Join(readErr, drainErr); err != nil {
		return false, fmt.Errorf("read what go test prints: %w", err)
	}
	t.finish()
	if waitErr != nil && t.failed == 0 {
		t.fail("go test", waitErr.Error()+"\n")
	}
	t.print(out, skipFails)
	return t.failed == 0 && (t.skipped == 0 || !skipFails), nil
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// read takes every event. Lines that are none are handed through.
func (t *tally) read(from io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		if line := t.take(e); line != "" {
			fmt.Fprintln(out, line)
		}
	}
	return lines.Err()
}
