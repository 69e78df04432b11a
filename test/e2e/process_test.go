//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a condition. It is generous: machines that run
// tests are small and shared.
const waitLimit = 20 * time.Second

// process is a long-running command of the product.
type process struct {
	name   string
	cmd    *exec.Cmd
	output logBuffer
	ended  chan struct{} // closed when it has ended
}

// logBuffer keeps what a process prints. It is safe for concurrent use.
type logBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// startProcess starts a command. At the end of the test it is stopped if it still
// runs, and its output is shown if the test failed.
func startProcess(t *testing.T, place lab.Place, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := place.Start(cmd); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait() // its state is asked for below
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		if !p.endsWithin(waitLimit) {
			t.Errorf("%s did not end within %v of SIGTERM", name, waitLimit)
			p.kill(t)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.output.String())
		}
	})
	return p
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) endsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if p.running() {
		_ = p.cmd.Process.Signal(signal) // it may end at this moment
	}
}

// stop asks the process to end and wants it to end well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if !p.endsWithin(waitLimit) {
		t.Fatalf("%s did not end within %v of SIGTERM", p.name, waitLimit)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with status %d after SIGTERM, want 0", p.name, code)
	}
}

// kill ends the process as a crash would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.ended
}

// waitUntil waits for a condition that the process is to bring about, and fails
// at once when it ends before.
func (p *process) waitUntil(t *testing.T, holds func() error) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if !p.running() {
			t.Fatalf("%s ended with %v:\n%s", p.name, p.cmd.ProcessState, p.output.String())
		}
		return holds()
	})
}

// waitForLog waits until the process has printed a text.
func (p *process) waitForLog(t *testing.T, text string) {
	t.Helper()
	p.waitUntil(t, func() error {
		if !strings.Contains(p.output.String(), text) {
			return fmt.Errorf("%s has not printed %q", p.name, text)
		}
		return nil
	})
}
