//go:build linux

package e2e

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestUninstall removes what an agent left, and not while it runs. Keys and enrolments
// stay, unless that is said, too.
func TestUninstall(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	pid := strconv.Itoa(w.agent.Cmd.Process.Pid)
	output, err := w.uninstallCommand()
	if exitCode(err) != 1 || !strings.Contains(output, "an agent of this instance runs") || !strings.Contains(output, "(process "+pid+")") || !strings.Contains(output, "stop it first") {
		t.Errorf("beside an agent that runs it ended with %v:\n%s", err, output)
	}
	w.wantIn(ledgerURL)
	held := lab.HeldBPF(t, w.agent.Cmd.Process.Pid)
	w.agent.end(t, syscall.SIGTERM)
	if output, err := w.curl(ledgerURL); exitCode(err) != 7 {
		t.Errorf("after the agent's end curl ended with %v, want a failed connect (7):\n%s", err, output)
	}
	output = w.uninstall()
	for _, says := range []string{"removing " + w.pinFolder() + "/e2e: ", " hooks and ", "  connect4-", "  exec-", "removed: every connection goes its own way"} {
		if !strings.Contains(output, says) {
			t.Errorf("it does not say %q:\n%s", says, output)
		}
	}
	held.RequireGone(t)
	if output, err := w.curl(ledgerURL); exitCode(err) != 22 {
		t.Errorf("after that curl ended with %v, want the ledger's own refusal (22):\n%s", err, output)
	}
	if output := w.uninstall(); !strings.Contains(output, "nothing of instance e2e is in "+w.bpffs) {
		t.Errorf("where nothing is it says:\n%s", output)
	}

	w.startAgent(w.config(curlConfig)) // with the enrolment of before: the ticket was good for one
	w.wantIn(ledgerURL)
	w.agent.end(t, syscall.SIGTERM)
	output = w.uninstall("--purge")
	for _, file := range []string{"agent/identities/ledger-client/key.pem", "agent/identities/ledger-client/enrolment.json", "agent/local-api-key"} {
		if !strings.Contains(output, "  "+w.path(file)+"\n") {
			t.Errorf("it does not name %s:\n%s", file, output)
		}
	}
	if output := w.uninstall("--purge"); !strings.Contains(output, "no keys or enrolments") {
		t.Errorf("after that it says:\n%s", output)
	}
}
