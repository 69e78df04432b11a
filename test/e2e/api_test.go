//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/verify"
	"github.com/lanyardhq/lanyard/test/clients"
	"github.com/lanyardhq/lanyard/test/lab"
)

// ledgerAudience is the audience of the ledger's tokens.
const ledgerAudience = "http://ledger.test:8080"

// marker is what the ledger answers to those it lets in.
const marker = "ledger-says-yes"

// recorder is a server that remembers the requests it got.
type recorder struct {
	next http.Handler

	mu       sync.Mutex
	requests []request
}

// request is what a server saw of one request.
type request struct {
	path  string
	at    netip.Addr // the server's address that it came to
	token string     // value of its bearer token, or ""

	// What the token said, where it was accepted.
	subject string
	tokenID string
	expires time.Time
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	_, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	at := q.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr).AddrPort().Addr().Unmap()
	r.mu.Lock()
	r.requests = append(r.requests, request{path: q.URL.Path, at: at, token: token})
	r.mu.Unlock()
	r.next.ServeHTTP(w, q)
}

// accepted notes what the token of the latest request says.
func (r *recorder) accepted(claims verify.Claims) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := &r.requests[len(r.requests)-1]
	last.subject, last.tokenID, last.expires = claims.Subject, claims.TokenID, claims.Expires
}

// all returns the requests so far.
func (r *recorder) all() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.requests...)
}

// last returns the latest request.
func (r *recorder) last(t *testing.T) request {
	t.Helper()
	requests := r.all()
	if len(requests) == 0 {
		t.Fatal("the server saw no request")
	}
	return requests[len(requests)-1]
}

// tokens counts the requests that carried a token.
func (r *recorder) tokens() int {
	count := 0
	for _, q := range r.all() {
		if q.token != "" {
			count++
		}
	}
	return count
}

// waitForTokens waits until that many requests with a token have arrived.
func (r *recorder) waitForTokens(t *testing.T, count int) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if got := r.tokens(); got < count {
			return fmt.Errorf("%d requests with a token arrived, want %d", got, count)
		}
		return nil
	})
}

// startLedger serves the protected API on these addresses; without any, on those
// that its name resolves to.
func (w *world) startLedger(addresses ...netip.Addr) *recorder {
	w.t.Helper()
	if len(addresses) == 0 {
		addresses = []netip.Addr{ledgerV4, ledgerV6}
	}
	ledger := w.newLedger()
	w.serve(port, ledger, addresses...)
	return ledger
}

// newLedger makes the protected API, which is to be served.
func (w *world) newLedger() *recorder {
	w.t.Helper()
	ledger := &recorder{}
	inside := http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
		claims, _ := verify.FromContext(q.Context()) // which has it: Protect lets no other pass
		ledger.accepted(claims)
		clients.Answer(marker).ServeHTTP(out, q)
	})
	verifier, err := verify.New(w.t.Context(), verify.Config{
		KeysURL: authorityURL + "/operator/.well-known/jwks.json", Audience: ledgerAudience, Client: w.http,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(verifier.Close)
	ledger.next = verifier.Protect(inside)
	return ledger
}

// startOther serves an API that asks for no token and is registered nowhere.
func (w *world) startOther(addresses ...netip.Addr) *recorder {
	w.t.Helper()
	other := &recorder{next: clients.Answer("other")}
	w.serve(port, other, addresses...)
	return other
}
