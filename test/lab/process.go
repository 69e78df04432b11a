//go:build linux

package lab

import (
	"bytes"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a long-running command of a test.
type Process struct {
	Name string
	Cmd  *exec.Cmd

	output Output
	ended  chan struct{} // closed when it has ended
}

// Output keeps what a process prints. It is safe for concurrent use.
type Output struct {
	mu      sync.Mutex
	content bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.Write(p)
}

// String returns what was printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.String()
}

// StartProcess starts a command in a place. At the end of the test it is asked to
// end if it still runs, has limit for that, and its output is shown if the test
// failed.
func StartProcess(t testing.TB, place Place, limit time.Duration, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, Cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := place.Start(cmd); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait() // its state is asked for by who stops it
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		if !p.EndsWithin(limit) {
			t.Errorf("%s did not end within %v of SIGTERM", name, limit)
			p.Kill()
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.Output())
		}
	})
	return p
}

// Output returns what the process printed so far, on both outputs.
func (p *Process) Output() string { return p.output.String() }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// EndsWithin waits for the end of the process and reports whether it came in time.
func (p *Process) EndsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Signal sends a signal to a process that runs.
func (p *Process) Signal(signal syscall.Signal) {
	if p.Running() {
		_ = p.Cmd.Process.Signal(signal) // it may end at this moment
	}
}

// Kill ends the process as a crash would.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// WaitUntil waits for a condition that the process is to bring about, and fails
// at once when it ended without.
func (p *Process) WaitUntil(t testing.TB, limit time.Duration, holds func() error) {
	t.Helper()
	Eventually(t, limit, func() error {
		running := p.Running()
		err := holds()
		if err != nil && !running {
			t.Fatalf("%s ended with %v: %v\n%s", p.Name, p.Cmd.ProcessState, err, p.Output())
		}
		return err
	})
}
