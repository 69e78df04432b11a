package verify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/jose"
)

const audience = "http://ledger.test"

// issuer is a small authority with one key.
type issuer struct {
	key     jwk.Key
	url     string
	set     jwk.Set
	fetched atomic.Int32
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: newKey(t, "key-1"), set: jwk.NewSet()}
	i.publish(t, i.key)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.fetched.Add(1)
		_ = json.NewEncoder(w).Encode(i.set)
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) publish(t *testing.T, key jwk.Key) {
	t.Helper()
	public, err := key.PublicKey()
	if err == nil {
		err = i.set.AddKey(public)
	}
	if err != nil {
		t.Fatal(err)
	}
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

func sign(t *testing.T, key jwk.Key, algorithm jwa.SignatureAlgorithm, signingKey any, claims map[string]any, more ...func(jws.Headers) error) string {
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
	for _, set := range more {
		if err := set(headers); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := jwt.Sign(token, jwt.WithKey(algorithm, signingKey, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// verifier returns one for tokens of the issuer.
func (i *issuer) verifier(t *testing.T, change func(*Config)) *Verifier {
	t.Helper()
	config := Config{KeysURL: i.url, Audience: audience}
	if change != nil {
		change(&config)
	}
	v, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestProtect(t *testing.T) {
	i := newIssuer(t)
	api := i.verifier(t, nil).Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := FromContext(r.Context())
		_, _ = io.WriteString(w, "welcome "+claims.Subject)
	}))
	es256 := func(change func(map[string]any)) string { return sign(t, i.key, jwa.ES256, i.key, claims(change)) }
	header := func(name string, value any) string {
		return sign(t, i.key, jwa.ES256, i.key, claims(nil), func(h jws.Headers) error { return h.Set(name, value) })
	}
	public, err := i.key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger := newKey(t, "key-1")
	valid := es256(nil)
	none := strings.Join([]string{base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"key-1"}`)), strings.Split(valid, ".")[1], ""}, ".")
	for _, test := range []struct {
		name          string
		authorization []string
		status        int
		says          string
	}{
		{"valid", []string{"Bearer " + valid}, 200, "welcome pr1:abc"},
		{"scheme in lower case", []string{"bearer " + valid}, 200, "welcome"},
		{"typ JWT", []string{"Bearer " + header("typ", "JWT")}, 200, "welcome"},
		{"typ jwt", []string{"Bearer " + header("typ", "jwt")}, 200, "welcome"},
		{"typ application/jwt", []string{"Bearer " + header("typ", "application/jwt")}, 200, "welcome"},
		{"no token", nil, 401, "no bearer token"},
		{"other scheme", []string{"Basic YTpi"}, 401, "no bearer token"},
		{"two tokens", []string{"Bearer " + valid, "Bearer " + valid}, 401, "no bearer token"},
		{"no JWT", []string{"Bearer abc"}, 401, "no token"},
		{"too long", []string{"Bearer " + strings.Repeat("a", jose.MaxIDTokenLength+1)}, 401, "longer than"},
		{"another type", []string{"Bearer " + header("typ", "at+jwt")}, 401, "another type"},
		{"critical extension", []string{"Bearer " + header("crit", []string{"exp"})}, 401, "critical"},
		{"own key", []string{"Bearer " + header("jwk", public)}, 401, "key of its own"},
		{"own key set", []string{"Bearer " + header("jku", "http://127.0.0.1:1/keys")}, 401, "key of its own"},
		{"own certificate", []string{"Bearer " + header("x5u", "http://127.0.0.1:1/keys")}, 401, "key of its own"},
		{"no key id", []string{"Bearer " + sign(t, i.key, jwa.ES256, rawKey(t, i.key), claims(nil), func(h jws.Headers) error { return h.Remove("kid") })}, 401, "names no key"},
		{"no signature", []string{"Bearer " + none}, 401, "not signed"},
		{"changed claims", []string{"Bearer " + changed(t, valid)}, 401, "not signed"},
		{"another key under the same id", []string{"Bearer " + sign(t, stranger, jwa.ES256, stranger, claims(nil))}, 401, "not signed"},
		{"unknown key id", []string{"Bearer " + sign(t, newKey(t, "key-2"), jwa.ES256, rawKey(t, i.key), claims(nil))}, 401, "not signed"},
		{"symmetric key", []string{"Bearer " + sign(t, i.key, jwa.HS256, []byte("key-1"), claims(nil))}, 401, "not signed"},
		{"other audience", []string{"Bearer " + es256(func(c map[string]any) { c["aud"] = []string{"http://other.test"} })}, 401, "another audience"},
		{"no audience", []string{"Bearer " + es256(func(c map[string]any) { delete(c, "aud") })}, 401, "the token"},
		{"no subject", []string{"Bearer " + es256(func(c map[string]any) { delete(c, "sub") })}, 401, "lacks a claim"},
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

// changed gives a token other claims under the same signature.
func changed(t *testing.T, compact string) string {
	t.Helper()
	parts := strings.Split(compact, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.Replace(text, []byte("pr1:abc"), []byte("pr1:xyz"), 1))
	return strings.Join(parts, ".")
}

func TestWithoutKeys(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	i := newIssuer(t)
	v := i.verifier(t, func(c *Config) { c.KeysURL = gone.URL })
	_, err := v.Verify(t.Context(), sign(t, i.key, jwa.ES256, i.key, claims(nil)))
	if !errors.Is(err, ErrKeys) {
		t.Errorf("error %v, want that nothing is said about the token", err)
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Authorization", "Bearer "+sign(t, i.key, jwa.ES256, i.key, claims(nil)))
	recorder := httptest.NewRecorder()
	v.ForwardAuth().ServeHTTP(recorder, request)
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("status is %d, want 503 while the keys cannot be fetched", recorder.Code)
	}
}

// Keys are not fetched from where another server points to.
func TestKeysAreNotFetchedFromElsewhere(t *testing.T) {
	i := newIssuer(t)
	pointing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, i.url, http.StatusFound)
	}))
	defer pointing.Close()
	client, err := NewClient("")
	if err != nil {
		t.Fatal(err)
	}
	v := i.verifier(t, func(c *Config) { c.KeysURL, c.Client = pointing.URL, client })
	if _, err := v.Verify(t.Context(), sign(t, i.key, jwa.ES256, i.key, claims(nil))); !errors.Is(err, ErrKeys) {
		t.Errorf("error %v, want ErrKeys", err)
	}
}

// A key that the issuer begins to use is fetched at once, for the first token that names
// it, but not for a stranger's.
func TestKeyThatTheIssuerBeginsToUse(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier(t, nil)
	if _, err := v.Verify(t.Context(), sign(t, i.key, jwa.ES256, i.key, claims(nil))); err != nil {
		t.Fatal(err)
	}
	fresh := newKey(t, "key-2")
	i.publish(t, fresh)
	if _, err := v.Verify(t.Context(), sign(t, fresh, jwa.ES256, fresh, claims(nil))); err != nil {
		t.Error(err)
	}
	unknown := newKey(t, "key-3")
	for range 5 {
		if _, err := v.Verify(t.Context(), sign(t, unknown, jwa.ES256, unknown, claims(nil))); err == nil {
			t.Error("a stranger's key is accepted")
		}
	}
	if n := i.fetched.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestIssuer(t *testing.T) {
	i := newIssuer(t)
	token := sign(t, i.key, jwa.ES256, i.key, claims(nil))
	if _, err := i.verifier(t, func(c *Config) { c.Issuer = "op1:abc" }).Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	_, err := i.verifier(t, func(c *Config) { c.Issuer = "op1:xyz" }).Verify(t.Context(), token)
	if err == nil || !strings.Contains(err.Error(), "another issuer") {
		t.Errorf("error %v", err)
	}
}

func TestConfigs(t *testing.T) {
	for name, c := range map[string]Config{
		"no audience":     {KeysURL: "https://id.test/keys"},
		"both":            {KeysURL: "https://id.test/keys", Audience: "a", AnyAudience: true},
		"in the clear":    {KeysURL: "http://id.test/keys", Audience: "a"},
		"no URL":          {Audience: "a"},
		"password in URL": {KeysURL: "https://u:hunter2@id.test/keys", Audience: "a"},
	} {
		if _, err := New(t.Context(), c); !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing is to be fetched
	v, err := New(ctx, Config{KeysURL: "http://id.test/keys", AnyAudience: true, AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
}

// Whatever the client sends in identity fields, the answer has them all.
func TestForwardAuth(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier(t, nil)
	ask := func(method, path, authorization string) *httptest.ResponseRecorder {
		request := httptest.NewRequest(method, path, nil)
		request.Header.Set(FieldWorkload, "pr1:forged")
		request.Header.Set(FieldTags, "admin")
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		recorder := httptest.NewRecorder()
		v.ForwardAuth().ServeHTTP(recorder, request)
		return recorder
	}
	tagged := sign(t, i.key, jwa.ES256, i.key, claims(func(c map[string]any) {
		c["extra"] = map[string]any{"tags": []string{"eyes", "ears"}}
	}))
	answer := ask("GET", "/", "Bearer "+tagged)
	for field, want := range map[string]string{FieldWorkload: "pr1:abc", FieldIssuer: "op1:abc", FieldAudience: audience, FieldTags: "eyes,ears", FieldTokenID: "jwt1:abc"} {
		if got := answer.Header()[field]; answer.Code != 200 || len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if expires, err := time.Parse(time.RFC3339, answer.Header().Get(FieldExpires)); err != nil || !expires.After(time.Now()) {
		t.Errorf("expires %v, %v", expires, err)
	}
	bare := ask("GET", "/", "Bearer "+sign(t, i.key, jwa.ES256, i.key, claims(nil)))
	if got, there := bare.Header()[FieldTags]; !there || got[0] != "" {
		t.Errorf("without tags the field is %q", got)
	}
	for want, change := range map[[2]string]func(map[string]any){
		{FieldWorkload, "pr1:abc%0D%0AX-Lanyard-Tags:%20admin"}: func(c map[string]any) { c["sub"] = "pr1:abc\r\nX-Lanyard-Tags: admin" },
		{FieldWorkload, "%20pr1:abc"}:                           func(c map[string]any) { c["sub"] = " pr1:abc" },
		{FieldWorkload, "pr1:abc%2Cpr1:victim"}:                 func(c map[string]any) { c["sub"] = "pr1:abc,pr1:victim" },
		{FieldWorkload, "pr1:%252C"}:                            func(c map[string]any) { c["sub"] = "pr1:%2C" },
		{FieldIssuer, "op1:abc%00"}:                             func(c map[string]any) { c["iss"] = "op1:abc\x00" },
		{FieldTokenID, "jwt1:%D0%B0bc"}:                         func(c map[string]any) { c["jti"] = "jwt1:аbc" },
		{FieldAudience, audience + ",http://a.test%2Chttp://b"}: func(c map[string]any) { c["aud"] = []string{audience, "http://a.test,http://b"} },
		{FieldTags, "eyes%2Cadmin,ears"}:                        func(c map[string]any) { c["extra"] = map[string]any{"tags": []string{"eyes,admin", "ears"}} },
		{FieldTags, "eyes%0Aadmin%7F"}:                          func(c map[string]any) { c["extra"] = map[string]any{"tags": []string{"eyes\nadmin\x7f"}} },
	} {
		got := ask("GET", "/", "Bearer "+sign(t, i.key, jwa.ES256, i.key, claims(change)))
		if values := got.Header()[want[0]]; got.Code != 200 || len(values) != 1 || values[0] != want[1] {
			t.Errorf("%s is %q with status %d, want %q", want[0], values, got.Code, want[1])
		}
	}
	for _, path := range []string{"/", "/healthz", "/metrics", "/a/b?c=d"} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			if got := ask(method, path, ""); got.Code != 401 || got.Header().Get(FieldWorkload) != "" {
				t.Errorf("%s %s without a token: %d %v", method, path, got.Code, got.Header())
			}
		}
	}
}
