//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestRefusedReload: that a configuration was refused stays in /readyz and in the metrics
// until one is accepted.
func TestRefusedReload(t *testing.T) {
	w, _ := startCurlWorld(t)
	w.wantReadiness("ok\n")
	const result, when = "lanyard_config_last_reload_successful", "lanyard_config_last_reload_success_timestamp_seconds"
	w.wantMetric(result, 1)
	started := w.metric(when)
	w.reload(w.config(strings.Replace(curlConfig, "hosts:", "hostz:", 1)))
	w.wantReadiness("ok\ndegraded: configuration: not reloaded at ")
	w.wantDegraded("the former one stays in force", "hostz")
	w.wantMetric(result, 0)
	w.wantMetric(when, started)
	w.wantIn(ledgerURL)
	w.reload(w.config(curlConfig))
	w.wantReadiness("ok\n")
	w.wantMetric(result, 1)
}

// TestTLSAtADestinationIsSaid: a program that calls a destination by https:// gets no
// token, which is said once, without debug, and counted.
func TestTLSAtADestinationIsSaid(t *testing.T) {
	w := newWorld(t)
	w.agentEnv = append(w.agentEnv, "LANYARD_LOG_LEVEL=info")
	w.startAuthority()
	w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(curlConfig + "    on_failure: open\n"))
	w.dns.Set(ledgerHost, ledgerV4)
	w.wantIn(ledgerURL)
	for range 3 {
		if output, err := w.curl("--insecure", strings.Replace(ledgerURL, "http:", "https:", 1)); err == nil {
			t.Fatalf("the ledger speaks TLS:\n%s", output)
		}
	}
	lab.Eventually(t, waitLimit, func() error {
		const series = `lanyard_probable_misses_total{identity="ledger-client",destination="ledger",reason="not_http"}`
		if n := w.metric(series); n != 3 {
			return fmt.Errorf("%s is %d, want 3", series, n)
		}
		return nil
	})
	if n := strings.Count(w.agent.Output(), "an identity probably meant a destination"); n != 1 {
		t.Errorf("it is said in %d lines, want 1", n)
	}
}
