package demo_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/demo"
)

const audience = "http://ledger.test"

// issuer is a small authority with one key.
type issuer struct {
	key jwk.Key
	url string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: newKey(t, "key-1")}
	public, err := i.key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func newKey(t *testing.T, id string) jwk.Key {
	t.Helper()
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.FromRaw(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: id, jwk.AlgorithmKey: jwa.ES256} {
		if err := key.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// rawKey is the key without its id.
func rawKey(t *testing.T, key jwk.Key) any {
	t.Helper()
	var raw any
	if err := key.Raw(&raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

// claims are those of a valid token, changed by change.
func claims(change func(map[string]any)) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": "op1:abc", "sub": "pr1:abc", "jti": "jwt1:abc", "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if change != nil {
		change(all)
	}
	return all
}

func sign(t *testing.T, key jwk.Key, algorithm jwa.SignatureAlgorithm, signingKey any, claims map[string]any) string {
	t.Helper()
	token := jwt.New()
	for name, value := range claims {
		if err := token.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	headers := jws.NewHeaders()
	if err := headers.Set(jws.KeyIDKey, key.KeyID()); err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(algorithm, signingKey, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func TestProtectedAPI(t *testing.T) {
	i := newIssuer(t)
	api, err := demo.NewProtectedAPI(t.Context(), i.url, audience)
	if err != nil {
		t.Fatal(err)
	}
	es256 := func(change func(map[string]any)) string { return sign(t, i.key, jwa.ES256, i.key, claims(change)) }
	stranger := newKey(t, "key-1")
	valid := es256(nil)
	for _, test := range []struct {
		name          string
		authorization []string
		status        int
		says          string
	}{
		{"valid", []string{"Bearer " + valid}, 200, `"sub":"pr1:abc"`},
		{"scheme in lower case", []string{"bearer " + valid}, 200, "welcome"},
		{"no token", nil, 401, "no bearer token"},
		{"other scheme", []string{"Basic YTpi"}, 401, "no bearer token"},
		{"two tokens", []string{"Bearer " + valid, "Bearer " + valid}, 401, "no bearer token"},
		{"no JWT", []string{"Bearer abc"}, 401, "not signed by this issuer"},
		{"another key under the same id", []string{"Bearer " + sign(t, stranger, jwa.ES256, stranger, claims(nil))}, 401, "not signed"},
		{"unknown key id", []string{"Bearer " + sign(t, newKey(t, "key-2"), jwa.ES256, rawKey(t, i.key), claims(nil))}, 401, "not signed"},
		{"symmetric key", []string{"Bearer " + sign(t, i.key, jwa.HS256, []byte("key-1"), claims(nil))}, 401, "not signed"},
		{"other audience", []string{"Bearer " + es256(func(c map[string]any) { c["aud"] = []string{"http://other.test"} })}, 401, "another audience"},
		{"no audience", []string{"Bearer " + es256(func(c map[string]any) { delete(c, "aud") })}, 401, "the token"},
		{"expired", []string{"Bearer " + es256(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() })}, 401, "expired"},
		{"no expiry", []string{"Bearer " + es256(func(c map[string]any) { delete(c, "exp") })}, 401, "lacks a claim"},
		{"not yet valid", []string{"Bearer " + es256(func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() })}, 401, "not valid yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Header["Authorization"] = test.authorization
			recorder := httptest.NewRecorder()
			api.ServeHTTP(recorder, request)
			if recorder.Code != test.status || !strings.Contains(recorder.Body.String(), test.says) {
				t.Errorf("answer is %d %s, want %d with %q", recorder.Code, recorder.Body, test.status, test.says)
			}
			if challenged := recorder.Header().Get("WWW-Authenticate") != ""; challenged != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q with status %d", recorder.Header().Get("WWW-Authenticate"), recorder.Code)
			}
			if _, secret, _ := strings.Cut(valid, "."); strings.Contains(recorder.Body.String(), secret) {
				t.Error("the answer repeats the token")
			}
		})
	}
}

func TestProtectedAPIWithoutKeys(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	api, err := demo.NewProtectedAPI(t.Context(), gone.URL, audience)
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Authorization", "Bearer abc")
	recorder := httptest.NewRecorder()
	api.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("status is %d, want 503 while the keys cannot be fetched", recorder.Code)
	}
}
