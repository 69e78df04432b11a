package verify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/forgery"
)

func TestClaims(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	now := time.Unix(1_800_000_000, 0)
	v, err := New(t.Context(), Config{KeysURL: issuer.KeysURL, Audience: "a", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	const header = `{"alg":"ES256","kid":"ES256"}`
	for payload, want := range map[string]Claims{
		`{"sub":"pr1:a","exp":1800000000,"aud":"a"}`: {Subject: "pr1:a", Audience: []string{"a"}, Expires: now},
		`{"sub":"pr1:a","Sub":"pr1:b","exp":1800000001.9,"aud":["b","a"],"iss":"op1:a","jti":"j","nbf":1,"iat":2,"extra":{"tags":["x"]}}`: {
			Subject: "pr1:a", Issuer: "op1:a", Audience: []string{"b", "a"}, TokenID: "j", Tags: []string{"x"},
			Expires: now.Add(time.Second), NotBefore: time.Unix(1, 0), Issued: time.Unix(2, 0),
		},
	} {
		got, err := v.Verify(t.Context(), issuer.Sign("ES256", header, payload))
		if err != nil {
			t.Errorf("%s: %v", payload, err)
			continue
		}
		if text, err := json.Marshal(got); err != nil || string(text) != payload {
			t.Errorf("%s as JSON: %s, %v", payload, text, err)
		}
		if got.signed = nil; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", payload, got, want)
		}
	}
	if text, err := json.Marshal(Claims{}); err != nil || string(text) != "null" {
		t.Errorf("no claims as JSON: %s, %v", text, err)
	}
}

// Clocks may differ by half a minute, and no more.
func TestClockSkew(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	start := time.Unix(1_800_000_000, 0)
	var now time.Time
	v, err := New(t.Context(), Config{KeysURL: issuer.KeysURL, AnyAudience: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, test := range []struct {
		claims string
		offset time.Duration
		valid  bool
	}{
		{`"exp":1800000000`, clockSkew - time.Nanosecond, true},
		{`"exp":1800000000`, clockSkew, false},
		{`"exp":1800000000.9`, clockSkew, false},
		{`"exp":1900000000,"nbf":1800000000`, -clockSkew, true},
		{`"exp":1900000000,"nbf":1800000000`, -clockSkew - time.Nanosecond, false},
		{`"exp":1900000000,"iat":1800000000`, -clockSkew, true},
		{`"exp":1900000000,"iat":1800000000`, -clockSkew - time.Nanosecond, false},
	} {
		now = start.Add(test.offset)
		_, err := v.Verify(t.Context(), issuer.Sign("ES256", `{"alg":"ES256","kid":"ES256"}`, `{"sub":"pr1:a",`+test.claims+`}`))
		if (err == nil) != test.valid {
			t.Errorf("%s, %v later: %v", test.claims, test.offset, err)
		}
	}
}

// What an issuer publishes is used only where it says one thing.
func TestKeysThatCannotBeUsed(t *testing.T) {
	i := newIssuer(t)
	one, err := json.Marshal(i.set)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSuffix(strings.TrimPrefix(string(one), `{"keys":[`), `]}`)
	other, err := newKey(t, "key-1").PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	otherText, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, i.key, "ES256", i.key, claims(nil))
	for name, test := range map[string]struct{ set, says string }{
		"one key":                   {string(one), ""},
		"two keys with one id":      {fmt.Sprintf(`{"keys":[%s,%s]}`, key, otherText), "two keys have the id"},
		"more than a set can be":    {fmt.Sprintf(`{"pad":%q,"keys":[%s]}`, strings.Repeat("a", maxKeys), key), "too large"},
		"a key of another use":      {fmt.Sprintf(`{"keys":[%s]}`, strings.Replace(key, "{", `{"use":"enc",`, 1)), "not signed"},
		"a key without algorithm":   {fmt.Sprintf(`{"keys":[%s]}`, strings.Replace(key, `"alg":"ES256",`, "", 1)), "not signed"},
		"no keys, but another's id": {`{"keys":[{"kty":"oct","k":"AAAA","kid":"key-1","alg":"HS256"}]}`, "not signed"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, test.set) }))
		t.Cleanup(server.Close)
		v := i.verifier(t, func(c *Config) { c.KeysURL = server.URL })
		if _, err := v.Verify(t.Context(), token); (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
}
