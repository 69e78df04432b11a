//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestOtherProtocolsAtAClosedDestination shows what root's curl meets at the ledger,
// which gets nothing without a token, by what it speaks; and that it is counted and
// told.
func TestOtherProtocolsAtAClosedDestination(t *testing.T) {
	w, ledger := startCurlWorld(t)
	for name, c := range map[string]struct {
		arguments []string
		url       string
		says      string // curl, of why
	}{
		"TLS":                         {[]string{"--insecure"}, strings.Replace(ledgerURL, "http:", "https:", 1), "access denied"},
		"HTTP/2 with prior knowledge": {[]string{"--http2-prior-knowledge"}, ledgerURL, "curl: ("},
	} {
		output, err := w.curl(append(c.arguments, c.url)...)
		if err == nil || !strings.Contains(output, c.says) {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
	if n := len(ledger.all()); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	w.wantIn(ledgerURL, "--http2") // which offers h2c
	if n := w.metric(`lanyard_requests_total{destination="ledger",identity="ledger-client",outcome="protocol_refused"}`); n != 2 {
		t.Errorf("%v connections are counted as refused, want 2", n)
	}

	const elsewhere = "Host: ledger-upstream:8080"
	for range 3 {
		if output, err := w.curl("--header", elsewhere, ledgerURL); err == nil || !strings.Contains(output, "no bearer token") {
			t.Errorf("another host: %v\n%s", err, output)
		}
	}
	if n := w.metric(`lanyard_anonymous_requests_total{destination="ledger",identity="ledger-client",reason="unknown_host"}`); n != 3 {
		t.Errorf("%v requests are counted as anonymous, want 3", n)
	}
	if n := strings.Count(w.agent.Output(), "hosts: [ledger.test, ledger-upstream]"); n != 1 {
		t.Errorf("the host is told %d times", n)
	}
	w.stopAgent()
}
