//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a condition. It is generous: machines that run
// tests are small and shared.
const waitLimit = 20 * time.Second

// process is a long-running command, with what these tests want of it.
type process struct{ *lab.Process }

// startProcess starts a command in a place.
func startProcess(t *testing.T, place lab.Place, name string, cmd *exec.Cmd) process {
	t.Helper()
	return process{lab.StartProcess(t, place, waitLimit, name, cmd)}
}

// stop asks the process to end and wants it to end well.
func (p process) stop(t *testing.T) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	if !p.EndsWithin(waitLimit) {
		t.Fatalf("%s did not end within %v of SIGTERM", p.Name, waitLimit)
	}
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with status %d after SIGTERM, want 0", p.Name, code)
	}
}

// waitForLog waits until the process has printed a text.
func (p process) waitForLog(t *testing.T, text string) {
	t.Helper()
	p.WaitUntil(t, waitLimit, func() error {
		if !strings.Contains(p.Output(), text) {
			return fmt.Errorf("%s has not printed %q", p.Name, text)
		}
		return nil
	})
}
