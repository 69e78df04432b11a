//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// behindAuthority is where the authority listens when something stands before it.
const behindAuthority = "127.0.0.1:8701"

// putBefore puts a proxy before the authority, which must not have been started. It
// may change requests and answers; an answer that is an error cuts the connection.
// While the authority is down, the proxy answers nobody.
func (w *world) putBefore(change func(*http.Request), answered func(*http.Response) error) {
	w.t.Helper()
	w.authorityEnv = []string{"LANYARD_LISTEN=" + behindAuthority, "LANYARD_AUTHORITY_URL=" + authorityURL}
	target := &url.URL{Scheme: "http", Host: behindAuthority}
	w.serve("8700", &httputil.ReverseProxy{
		Transport: w.http.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			change(r.Out)
		},
		ModifyResponse: answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}, netip.MustParseAddr("127.0.0.1"))
}

// shortenTokens has the proxy ask for ID tokens of this life, in whole seconds, in
// the name of whoever asks for one.
func shortenTokens(life time.Duration) func(*http.Request) {
	return func(r *http.Request) {
		if r.URL.Path == "/operator/v1/id_token" {
			r.Body = askForLife(r.Body, life)
			r.ContentLength = -1
		}
	}
}

// askForLife changes a request for an ID token.
func askForLife(body io.Reader, life time.Duration) io.ReadCloser {
	var asked map[string]any
	if err := json.NewDecoder(body).Decode(&asked); err != nil {
		return io.NopCloser(strings.NewReader("unreadable: " + err.Error())) // which the authority refuses
	}
	asked["ttl_seconds"] = json.Number(strconv.Itoa(int(life / time.Second)))
	changed, err := json.Marshal(asked)
	if err != nil {
		return io.NopCloser(strings.NewReader("unwritable: " + err.Error()))
	}
	return io.NopCloser(bytes.NewReader(changed))
}

// TestAuthorityDownPastExpiryAndBack takes the authority away for longer than a
// token lives. The ledger's own leeway is longer than this test waits, so it would
// let an expired token in: it is the agent that must not send one.
func TestAuthorityDownPastExpiryAndBack(t *testing.T) {
	const life = 3 * time.Second
	w := newWorld(t)
	w.putBefore(shortenTokens(life), nil)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(curlConfig))
	w.wantIn(ledgerURL)
	if left := time.Until(ledger.last(t).expires); left > life {
		t.Fatalf("the token lives for another %v, want %v at most", left, life)
	}
	w.authority.stop(t)
	lab.Eventually(t, waitLimit, func() error {
		output, err := w.curl("--include", ledgerURL)
		if err == nil {
			return errors.New("still let in")
		}
		if !strings.Contains(output, "token_unavailable") {
			t.Fatalf("while the authority was down curl got %q (%v), want to be let in, or token_unavailable", output, err)
		}
		return nil
	})
	// The clocks of agent and authority are compared by whole seconds.
	last := ledger.last(t)
	if early := time.Until(last.expires); early > time.Second {
		t.Errorf("curl was refused %v before the last token expired", early)
	}
	w.startAuthority()
	lab.Eventually(t, waitLimit, func() error {
		if output, err := w.curl(ledgerURL); err != nil {
			return fmt.Errorf("not let in yet: %w\n%s", err, output)
		}
		return nil
	})
	if again := ledger.last(t); again.tokenID == last.tokenID || again.subject != last.subject {
		t.Errorf("token %s of %s came after %s of %s, want another token of the same workload",
			again.tokenID, again.subject, last.tokenID, last.subject)
	}
}
