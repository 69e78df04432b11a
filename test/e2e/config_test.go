//go:build linux

package e2e

import (
	"os"
	"strings"
	"testing"
)

func TestAgentRefusesConfiguration(t *testing.T) {
	w := newWorld(t)
	w.write("ticket", "unused")
	for _, test := range []struct {
		name     string
		old, new string   // what is changed in a good configuration
		says     []string // in the error: the line, and what is wrong there
	}{
		{"unknown key", "identities: [ledger-client]", "identity: [ledger-client]", []string{":11:5:", `"identity"`}},
		{"user that does not exist", "user: root", "user: no-such-user", []string{":4:", "no-such-user"}},
		{"relative executable", "/usr/bin/curl", "bin/curl", []string{":4:", "bin/curl"}},
		{"digest that is none", "exe: /usr/bin/curl", "sha256: abc", []string{":4:", "sha256"}},
		{"executable without an owner", ", user: root", "", []string{":4:", "any_user"}},
		{"identity that is not registered", "identities: [ledger-client]", "identities: [ledger]", []string{":11:", `"ledger"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Count(curlConfig, test.old) != 1 {
				t.Fatalf("%q is not in the good configuration once", test.old)
			}
			config := w.config(strings.Replace(curlConfig, test.old, test.new, 1))
			status, output := w.refuseAgent(config)
			if status != 2 {
				t.Errorf("the agent ended with status %d, want 2", status)
			}
			checked, err := w.command("check", "-c", w.path("agent.yaml"))
			if exitCode(err) != 2 {
				t.Errorf("check ended with %v, want status 2", err)
			}
			for _, text := range test.says {
				if !strings.Contains(output, text) || !strings.Contains(checked, text) {
					t.Errorf("want %q in what the agent and check say:\n%s\n%s", text, output, checked)
				}
			}
		})
	}
}

// TestFilesThatOthersCanWrite: neither agent nor check uses such a configuration, at
// start or later, and the former one stays in force.
func TestFilesThatOthersCanWrite(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	good, path := w.config(curlConfig), w.path("agent.yaml")
	other := strings.Replace(good, "name: ledger\n", "name: ledger-x\n", 1)
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o666)
	w.reload(other)
	remedy := "run chmod go-w " + path
	w.agent.waitForLog(t, remedy)
	if checked, err := w.command("check", "-c", path); exitCode(err) != 2 || !strings.Contains(checked, remedy) {
		t.Errorf("check ended with %v, want status 2 and %q:\n%s", err, remedy, checked)
	}
	w.wantIn(ledgerURL)
	chmod(0o644)
	w.reload(other)
	w.agent.waitForLog(t, "configuration reloaded")
	w.wantIn(ledgerURL)
}

func TestTieNamesBothIdentities(t *testing.T) {
	const twin = `
  - name: twin
    match: {exe: /usr/bin/curl, user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
destinations:`
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket")
	w.startAgent(w.config(strings.Replace(curlConfig, "\ndestinations:", twin, 1)))
	output, err := w.curl("--include", ledgerURL)
	for _, text := range []string{"503", "application/problem+json", "ledger-client", "twin", "identity_ambiguous"} {
		if err == nil || !strings.Contains(output, text) {
			t.Errorf("curl got %q (%v), want a refusal with %q", output, err, text)
		}
	}
	if len(ledger.all()) != 0 {
		t.Error("the request of an ambiguous program was forwarded")
	}
	w.wantOutcome("identity_ambiguous", 1)
}

func TestReloadUnderLoad(t *testing.T) {
	w, ledger := startCurlWorld(t)
	w.wantIn(ledgerURL)
	load := w.startLoad(ledgerURL)
	good := w.config(curlConfig)
	for round := range 10 {
		// Each configuration differs from the one before, so that it is really applied.
		other := strings.Replace(good, "name: ledger\n", "name: ledger-"+strings.Repeat("x", round+1)+"\n", 1)
		w.reload(other)
		w.waitForDestination("ledger-" + strings.Repeat("x", round+1))
		ledger.waitForTokens(t, ledger.tokens()+20) // more than one connection's
	}
	w.reload(strings.Replace(good, "exe:", "exes:", 1))
	w.agent.waitForLog(t, "exes")
	result := load.finish(t)
	if result.failed != 0 || result.succeeded < 200 {
		t.Errorf("%d requests succeeded and %d failed during the reloads:\n%s", result.succeeded, result.failed, result.output)
	}
	w.wantIn(ledgerURL) // a bad configuration leaves the good one in force
}
