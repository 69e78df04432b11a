//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// pinFolder is where the agent's pins are, and those of other instances.
func (w *world) pinFolder() string { return filepath.Join(w.bpffs, "lanyard") }

// startExecutor starts a program that has made a request, and at SIGUSR1 executes
// another on the same connection, which makes the next.
func (w *world) startExecutor() process {
	w.t.Helper()
	after := w.write("after.py", prelude+`
s = socket.socket(fileno=int(sys.argv[1]))
print("after", ask(s, "/after"), flush=True)
`)
	executor := startProcess(w.t, w.place(), "executor", w.program(python, "-c", prelude+`
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
`+connect+fmt.Sprintf(`
print("before", ask(s, "/before"), flush=True)
s.settimeout(None) # a time-out makes the socket non-blocking, which exec would keep
s.set_inheritable(True)
signal.sigwait({signal.SIGUSR1})
os.execv(%q, [%q, %q, str(s.fileno())])
`, python, python, after)))
	executor.waitForLog(w.t, "before HTTP/1.1 200")
	return executor
}

// TestPinFolderRemoved removes the pins of an agent that runs. They come back, and a
// crash leaves what it has to: the fail policy, and what the next agent takes over.
func TestPinFolderRemoved(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	before := lab.Pins(t, w.bpffs)
	if err := os.RemoveAll(w.pinFolder()); err != nil {
		t.Fatal(err)
	}
	w.wantIn(ledgerURL)
	lab.Eventually(t, waitLimit, func() error {
		if now := lab.Pins(t, w.bpffs); strings.Join(now, " ") != strings.Join(before, " ") {
			return fmt.Errorf("pins are %v, were %v", now, before)
		}
		return nil
	})
	w.wantReadiness("ok\n")
	w.agent.Kill()
	if output, err := w.curl(ledgerURL); exitCode(err) != 7 {
		t.Errorf("after a crash curl ended with %v, want a failed connect (7):\n%s", err, output)
	}
	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	w.stopAgent()
}

// TestPinsCannotBeMade: the agent's folder cannot be made again. The hooks go on; that a
// crash would open closed destinations is said, as a degradation.
func TestPinsCannotBeMade(t *testing.T) {
	w, ledger := startPythonWorld(t)
	executor := w.startExecutor()
	lab.Eventually(t, waitLimit, func() error { // the agent may make it again first
		return errors.Join(os.RemoveAll(w.pinFolder()), os.Symlink("nowhere", w.pinFolder()))
	})
	w.wantReadiness("ok\ndegraded: pins: not pinned, so that the end of the agent")
	if up := w.metric("lanyard_hooks_up"); up != 1 {
		t.Errorf("lanyard_hooks_up is %d, want 1: the hooks see", up)
	}
	if output, err := w.run(python, "-c", prelude+connect+`print(ask(s, "/again"))`); err != nil || !strings.Contains(output, "200") {
		t.Errorf("without pins nobody is let in (%v): %s", err, output)
	}
	executor.Signal(syscall.SIGUSR1)
	executor.waitForLog(t, "after HTTP/1.1 503")
	if last := ledger.last(t); last.path != "/again" {
		t.Errorf("the last request was %s; want /again", last.path)
	}
	if strings.Contains(w.agent.Output(), "requests may leave without a token") {
		t.Error("the log says that hooks do not see, which do")
	}
	if err := os.Remove(w.pinFolder()); err != nil {
		t.Fatal(err)
	}
	w.wantReadiness("ok\n")

	// An agent that stops without pins says what that means, and it is so.
	lab.Eventually(t, waitLimit, func() error {
		return errors.Join(os.RemoveAll(w.pinFolder()), os.Symlink("nowhere", w.pinFolder()))
	})
	w.wantReadiness("ok\ndegraded: pins: not pinned")
	held := lab.HeldBPF(t, w.agent.Cmd.Process.Pid)
	w.agent.end(t, syscall.SIGTERM)
	if says := lastLine(w.agent.Output()); !strings.Contains(says, "closed destinations are open from now on") {
		t.Errorf("the agent's last line is %q", says)
	}
	held.RequireGone(t)
}

// TestHooksOfADeadInstance starts another instance of the agent beside the hooks that a
// killed one left. They go on refusing, which is said; once they are removed as it says,
// requests go through.
func TestHooksOfADeadInstance(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	w.agent.Kill()
	left := filepath.Join(w.pinFolder(), w.instance)
	w.instance = "another"
	w.startAgent(w.config(curlConfig))
	const says = "hooks of instance e2e, whose agent is stopped or dead, refuse what they were told to: start that agent again, or remove them with rm -r "
	w.wantReadiness("ok\ndegraded: dead agents: " + says + left + "\n")
	w.agent.waitForLog(t, says+left)
	if output, err := w.curl(ledgerURL); exitCode(err) != 7 {
		t.Errorf("beside a dead agent's hooks curl ended with %v, want a failed connect (7):\n%s", err, output)
	}
	if err := os.RemoveAll(left); err != nil {
		t.Fatal(err)
	}
	w.wantReadiness("ok\n")
	w.wantIn(ledgerURL)
	w.stopAgent()
}

// wantReadiness waits until /readyz answers with 200 and a text that begins so; "ok\n"
// is all of it.
func (w *world) wantReadiness(text string) {
	w.t.Helper()
	lab.Eventually(w.t, waitLimit, func() error {
		got, err := readiness(w.http, metricsURL)
		if err == nil && (!strings.HasPrefix(got, "200 "+text) || text == "ok\n" && got != "200 ok\n") {
			err = fmt.Errorf("/readyz says %q, want %q", got, text)
		}
		return err
	})
}
