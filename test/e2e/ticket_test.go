//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// wantTokenUnavailable makes a request that must end without a token, and
// returns what curl got.
func (w *world) wantTokenUnavailable() string {
	w.t.Helper()
	output, err := w.curl("--include", ledgerURL)
	for _, text := range []string{"503", "application/problem+json", "token_unavailable"} {
		if err == nil || !strings.Contains(output, text) {
			w.t.Fatalf("curl got %q (%v), want a refusal with %q", output, err, text)
		}
	}
	return output
}

func TestTicketThatGivesNothing(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"missing": func(*world) {},
		"wrong":   func(w *world) { w.write("ticket", "wrong-ticket") },
		"empty":   func(w *world) { w.write("ticket", "") },
		"expired": func(w *world) {
			w.createTicket("ticket", "--expires-in", "1s")
			lab.Eventually(w.t, waitLimit, func() error {
				output, err := w.command("ticket", "list", "-o", "json")
				if err != nil || !strings.Contains(output, "expired") {
					return fmt.Errorf("the ticket has not expired: %v\n%s", err, output)
				}
				return nil
			})
		},
		"deactivated": func(w *world) {
			made := w.createTicket("ticket")
			if output, err := w.command("ticket", "deactivate", made.ID); err != nil {
				w.t.Fatalf("deactivate: %v\n%s", err, output)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startAuthority()
			ledger := w.startLedger()
			spoil(w)
			w.startAgent(w.config(curlConfig))
			answer := w.wantTokenUnavailable()
			if len(ledger.all()) != 0 {
				t.Error("a request without a token was forwarded to a closed destination")
			}
			if strings.Contains(answer, "wrong-ticket") || strings.Contains(w.agent.Output(), "wrong-ticket") {
				t.Error("the ticket is repeated in the answer or the log")
			}
			w.wantOutcome("token_unavailable", 1)
		})
	}
}

func TestTicketUsedUpByAnother(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantIn(ledgerURL)
	w.stopAgent()
	// Another state folder is another host: the ticket's one use is taken.
	w.agentEnv = append(w.agentEnv, "LANYARD_STATE_DIR="+w.path("second"))
	w.startAgent(w.config(curlConfig))
	w.wantTokenUnavailable()
}

func TestDeactivatedTicketEndsTheWorkload(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.startLedger()
	made := w.createTicket("ticket")
	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	if output, err := w.command("ticket", "deactivate", made.ID); err != nil {
		t.Fatalf("deactivate: %v\n%s", err, output)
	}
	w.stopAgent()
	w.startAgent(w.config(curlConfig)) // has no token in memory, and asks
	w.wantTokenUnavailable()
	w.agent.waitForLog(t, "the ticket was deactivated") // the operator reads which control refused
}

func TestAuthorityDownAtStartAndBack(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.authority.stop(t)
	w.startAgent(w.config(curlConfig))
	w.wantTokenUnavailable()
	if len(ledger.all()) != 0 {
		t.Error("a request without a token was forwarded")
	}
	w.startAuthority()
	lab.Eventually(t, waitLimit, func() error {
		if output, err := w.curl(ledgerURL); err != nil {
			return fmt.Errorf("not let in yet: %w\n%s", err, output)
		}
		return nil
	})
	w.authority.stop(t)
	w.wantIn(ledgerURL) // the cached token serves until it expires
}

func TestFailOpenForwardsWithoutToken(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.write("ticket", "wrong-ticket")
	w.startAgent(w.config(curlConfig + "    on_failure: open\n"))
	if output, err := w.curl(ledgerURL); err == nil || !strings.Contains(output, "no bearer token") {
		t.Errorf("curl got %q (%v), want the ledger's own refusal", output, err)
	}
	if ledger.last(t).token != "" {
		t.Error("a token was sent")
	}
}
