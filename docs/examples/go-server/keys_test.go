package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// naming is what looks like a token whose header names that key.
func naming(keyID string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode(fmt.Appendf(nil, `{"alg":"EdDSA","kid":%q}`, keyID)) + ".e30." + encode(make([]byte, ed25519.SignatureSize))
}

// While fetches fail, nothing is known of a token whose key is not at hand, and the keys
// that are at hand count.
func TestUnknownKeyWhileFetchesFail(t *testing.T) {
	for name, away := range map[string]http.HandlerFunc{
		"gateway": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"error":"try again later"}`) },
		"upgrade": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) },
	} {
		t.Run(name, func(t *testing.T) { testKeysWhile(t, away) })
	}
}

func testKeysWhile(t *testing.T, away http.HandlerFunc) {
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := `{"keys":[` + published(t, edwards, map[string]any{"kid": "k", "alg": jwa.EdDSA}) + `]}`
	var isAway atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAway.Load() {
			away(w, r)
			return
		}
		_, _ = fmt.Fprint(w, set)
	}))
	defer issuer.Close()
	keys := newIssuerKeys(issuer.URL)
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { keys.keepFresh(ctx) })
	defer ended.Wait()
	defer stop()
	for deadline := time.Now().Add(fetchTimeout); keys.latest.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no keys")
		}
	}
	isAway.Store(true)
	for _, ask := range []struct {
		keyID  string
		usable bool
	}{{"k", true}, {"stranger", false}, {"k", true}} {
		set, usable := keys.forToken(ctx, naming(ask.keyID))
		if usable != ask.usable {
			t.Errorf("key %s: the token is judged: %v", ask.keyID, usable)
		}
		if _, known := set.LookupKeyID("k"); !known {
			t.Error("the keys that were at hand are gone")
		}
	}
}
