//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// renewals returns whose keys were replaced, as the authority has it, the latest
// first.
func (w *world) renewals() (workloads []string) {
	w.t.Helper()
	output, err := w.command("activity", "--kind", "workload_key", "--limit", "0", "-o", "json")
	if err != nil {
		w.t.Fatalf("read activity: %v\n%s", err, output)
	}
	for line := range strings.Lines(output) {
		var event struct {
			Workload, Outcome, Reason string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Fatalf("%v in %q", err, line)
		}
		if event.Outcome == "allowed" {
			workloads = append(workloads, event.Workload)
		}
	}
	return workloads
}

// waitForRenewals waits until so many keys were replaced.
func (w *world) waitForRenewals(count int) {
	w.t.Helper()
	w.agent.WaitUntil(w.t, waitLimit, func() error {
		if n := len(w.renewals()); n < count {
			return fmt.Errorf("%d keys were renewed, want %d", n, count)
		}
		return nil
	})
}

// TestKeyIsRenewed under a load whose tokens are short, so that each key is needed
// at once. Then the agent is killed when the authority has taken a new key and the
// agent does not know yet: the next start goes on as the same workload.
func TestKeyIsRenewed(t *testing.T) {
	w := newWorld(t)
	var hold atomic.Bool
	taken, release := make(chan struct{}), make(chan struct{})
	w.putBefore(shortenTokens(2*time.Second), func(r *http.Response) error {
		if r.Request.URL.Path != "/operator/v1/key" || r.StatusCode != http.StatusOK || !hold.CompareAndSwap(true, false) {
			return nil
		}
		close(taken)
		<-release
		return errors.New("the answer is withheld")
	})
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.agentEnv = []string{"LANYARD_KEY_MAX_AGE=1s"}
	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	first := ledger.last(t)

	load := w.startLoad(ledgerURL)
	w.waitForRenewals(3)
	ledger.waitForTokens(t, ledger.tokens()+20)
	if result := load.finish(t); result.failed != 0 {
		t.Errorf("%d requests succeeded and %d failed during the renewals:\n%s", result.succeeded, result.failed, result.output)
	}

	hold.Store(true)
	select {
	case <-taken:
	case <-time.After(waitLimit):
		t.Fatal("no key is renewed any more")
	}
	w.agent.Kill()
	close(release)
	folder := w.path("agent/identities/ledger-client/")
	if _, err := os.Stat(folder + "/next-key.pem"); err != nil {
		t.Fatalf("the agent was not killed in the middle: %v", err)
	}
	before := len(w.renewals())
	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	w.waitForRenewals(before + 2)
	w.wantIn(ledgerURL)
	last := ledger.last(t)
	if last.subject != first.subject || last.tokenID == first.tokenID {
		t.Errorf("token %s of %s came after %s of %s, want another token of the same workload", last.tokenID, last.subject, first.tokenID, first.subject)
	}
	for _, workload := range w.renewals() {
		if workload != first.subject {
			t.Errorf("a key of workload %s was renewed, there is only %s", workload, first.subject)
		}
	}
	w.stopAgent()
}
