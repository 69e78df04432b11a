package verify

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/test/forgery"
)

// No door lets a forged token in, or one that only a faulty issuer would sign; each
// lets the genuine ones in.
func TestForgeries(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	verifier, err := New(t.Context(), Config{KeysURL: issuer.KeysURL, Audience: forgery.Audience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	welcome := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	doors := map[string]func(token string) bool{
		"Verify":        func(token string) bool { _, err := verifier.Verify(t.Context(), token); return err == nil },
		"Protect":       served(t, verifier.Protect(welcome)),
		"forward auth":  served(t, verifier.ForwardAuth()),
		"Authorization": handled(verifier.Protect(welcome)),
	}
	forged := append(issuer.Forgeries(), issuer.Misissued()...)
	for door, accepts := range doors {
		t.Run(door, func(t *testing.T) {
			for _, f := range forged {
				if accepts(f.Token) {
					t.Errorf("%s: accepted\n%.200s", f.Name, f.Token)
				}
			}
			for _, algorithm := range forgery.Algorithms {
				if !accepts(issuer.Genuine(algorithm, forgery.Audience)) {
					t.Errorf("the genuine token by %s is refused", algorithm)
				}
			}
			t.Logf("%d forged tokens", len(forged))
		})
	}
	if issuer.Strays() > 0 {
		t.Errorf("%d requests to where a token pointed", issuer.Strays())
	}
}

// served asks over a connection.
func served(t *testing.T, handler http.Handler) func(string) bool {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return func(token string) bool {
		return forgery.Ask(t, server.Listener.Addr().String(), "/", token) == http.StatusOK
	}
}

// handled asks with fields that no connection would carry as they are.
func handled(handler http.Handler) func(string) bool {
	return func(token string) bool {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder.Code == http.StatusOK
	}
}

// What docs/verifying.md warns of is so: jwx by itself believes claims that nobody
// signed. The form that it has readers ask for is had by no forgery of that kind, and
// by the genuine tokens.
func TestJWXAloneBelievesClaimsThatNobodySigned(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	keys, err := jwk.Fetch(t.Context(), issuer.KeysURL)
	if err != nil {
		t.Fatal(err)
	}
	fooled := 0
	for _, f := range issuer.Forgeries() {
		claims, err := jwt.ParseString(f.Token, jwt.WithKeySet(keys), jwt.WithAudience(forgery.Audience))
		if err != nil || claims.Subject() != forgery.Victim {
			continue
		}
		if fooled++; isStrict(f.Token) {
			t.Errorf("%s: jwx believes it, and it has the form of a token", f.Name)
		}
	}
	if fooled == 0 {
		t.Error("jwx believes none of them any more; docs/verifying.md can say from which version on")
	}
	for _, algorithm := range forgery.Algorithms {
		if !isStrict(issuer.Genuine(algorithm, forgery.Audience)) {
			t.Errorf("the genuine token by %s has not the form of a token", algorithm)
		}
	}
}
