//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

func TestAgentKilled(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.startOther(otherV4)
	w.dns.Set("other.test", otherV4)
	w.wantIn(ledgerURL)
	held := lab.HeldBPF(t, w.agent.Cmd.Process.Pid)
	w.agent.Kill()
	if pins := lab.Pins(t, w.bpffs); len(pins) == 0 {
		t.Fatal("a killed agent left no pins: its hooks are gone, and the fail policy with them")
	}

	t.Run("bystander passes", func(t *testing.T) {
		output, err := w.run("wget", "-qO-", "--tries=1", "http://other.test:"+port)
		if err != nil || !strings.Contains(output, "other") {
			t.Errorf("wget got %q (%v)", output, err)
		}
	})
	t.Run("bystander passes to the closed destination", func(t *testing.T) {
		if _, err := w.run("wget", "-qO-", "--tries=1", ledgerURL); exitCode(err) != 6 {
			t.Errorf("wget ended with %v, want the ledger's own refusal (6)", err)
		}
	})
	t.Run("candidate passes elsewhere", func(t *testing.T) {
		output, err := w.curl("http://other.test:" + port)
		if err != nil || !strings.Contains(output, "other") {
			t.Errorf("curl got %q (%v)", output, err)
		}
	})
	t.Run("candidate is refused at the closed destination", func(t *testing.T) {
		if output, err := w.curl(ledgerURL); exitCode(err) != 7 {
			t.Errorf("curl ended with %v, want a failed connect (7):\n%s", err, output)
		}
	})

	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	w.stopAgent()
	held.RequireGone(t) // those of the agent that was killed, too
	if output, err := w.curl(ledgerURL); exitCode(err) != 22 {
		t.Errorf("after the agent was uninstalled curl ended with %v, want the ledger's own refusal (22):\n%s", err, output)
	}
}

// TestConnectionsOfAKilledAgentEnd has a program keep a connection that the
// injector holds: it must end with the agent, not hang.
func TestConnectionsOfAKilledAgentEnd(t *testing.T) {
	w, _ := startPythonWorld(t)
	holder := w.program(python, "-c", prelude+`
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
`+connect+`
print("before", ask(s, "/before"), flush=True)
signal.sigwait({signal.SIGUSR1})
try:
    print("after", repr(ask(s, "/after")), flush=True)
except ConnectionError as e:
    print("after", type(e).__name__, flush=True)
`)
	held := startProcess(t, w.place(), "holder", holder)
	held.waitForLog(t, "before HTTP/1.1 200")
	w.agent.Kill()
	held.Signal(syscall.SIGUSR1)
	if !held.EndsWithin(waitLimit) {
		t.Fatal("the connection hangs after the agent was killed")
	}
	if output := held.Output(); !strings.Contains(output, "after Connection") && !strings.Contains(output, "after ''") {
		t.Errorf("the connection went on as %q, want its end", output)
	}
	w.startAgent(w.config(pythonConfig(t))) // takes over what was left
}

// TestAgentKilledUnderLoad kills the agent while several programs make requests, and
// starts it again. Connections end or are refused, none hangs, no answer is another
// request's, and no request goes out with a token that is not due, or without one
// that is. Who is not redirected notices nothing.
func TestAgentKilledUnderLoad(t *testing.T) {
	w := startCrowdWorld(t)
	crowds := map[string]crowd{}
	for _, program := range []string{listedProgram, unlistedProgram, bystander} {
		crowds[program] = w.startCrowd(program, "-requests", "20")
	}
	w.waitForMore(listedProgram, unlistedProgram, bystander)
	w.agent.Kill()
	w.waitForMore(bystander)
	w.startAgent(w.crowdConfig())
	w.waitForMore(listedProgram, unlistedProgram, bystander)
	for program, c := range crowds {
		r, saw := c.finish(t), w.seen(program)
		t.Logf("counts: %s %+v, the server saw %+v", program, r, saw)
		if r.Hung > 0 || r.Wrong > 0 || saw.Odd > 0 {
			t.Errorf("%s counted %+v, the server saw %+v; want none hung, wrong or odd", program, r, saw)
		}
		if due := program == listedProgram; due && saw.Without > 0 || !due && saw.With > 0 {
			t.Errorf("of %s the server saw %+v", program, saw)
		}
		if interrupted := r.Broken+r.Refused > 0; interrupted != (program != bystander) {
			t.Errorf("%s was interrupted: %v (%+v)", program, interrupted, r)
		}
	}
	w.wantOpen(0)
	if passed := w.kernelEvents("passed_unknown"); passed > 0 {
		t.Errorf("while no agent answered, %d candidates went to a closed destination", passed)
	}
	for _, outcome := range []string{"destination_unverified", "token_unavailable"} {
		w.wantOutcome(outcome, 0)
	}
	w.stopAgent()
}

// waitForMore waits until the server has seen further requests of each program.
func (w *world) waitForMore(programs ...string) {
	w.t.Helper()
	const more = 200
	for _, program := range programs {
		before := w.seen(program)
		lab.Eventually(w.t, waitLimit, func() error {
			if now := w.seen(program); now.With+now.Without < before.With+before.Without+more {
				return fmt.Errorf("of %s the server saw %+v, before that %+v", program, now, before)
			}
			return nil
		})
	}
}

func TestUninstalledAgentLeavesNothing(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	w.stopAgent()
	if left, err := w.services.Processes(); err != nil || len(left) != 1 {
		t.Errorf("processes %v remain (%v), want the authority alone", left, err)
	}
}
