package operator

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
)

// FuzzParseIDToken holds what the cache, the data path and the logs rely on,
// whatever an authority answers. Its own reading is encoding/json's.
func FuzzParseIDToken(f *testing.F) {
	const names = `"iss":"op1:x","sub":"pr1:x","aud":["a"],`
	for _, payload := range []string{
		`{` + names + `"jti":"jwt1:abc","iat":1772366400,"exp":1772370000}`, `{` + names + `"exp":1.7723664005e9}`,
		`{` + names + `"jti":"a\nb","exp":9e18}`, `{` + names + `"iat":253402300799,"exp":253402300799}`,
		`{` + names + `"nbf":1772366401,"exp":1772370000,"AUD":"b"}`, `{"aud":"a","iss":"https://id.test","sub":"pr1:x","exp":1772370000}`,
		`{` + names + `"exp":null}`, `[]`, `{` + names + `"exp":-0}`, `{` + names + `"sub":"pr1:y","exp":1772370000}`,
	} {
		f.Add(encode(`{"alg":"ES256"}`) + "." + encode(payload) + ".c2ln")
		f.Add(encode(`{"alg":"none","typ":"JWT"}`) + "." + encode(payload) + ".")
	}
	f.Add("..")
	f.Add("a.b.c.d")
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &clock{now: func() time.Time { return received }}
	want := expectation{audience: "a", subject: "pr1:x", life: maxTokenLife, issuer: issuer{operator: "op1:x", base: "https://id.test/operator"}}
	f.Fuzz(func(t *testing.T, compact string) {
		tok, err := parseIDToken(compact, want, c, received)
		if err != nil {
			if !tok.IsZero() {
				t.Error("a token and an error")
			}
			if parts := strings.Split(compact, "."); len(parts) == 3 && len(parts[2]) > 64 && strings.Contains(err.Error(), parts[2]) {
				t.Errorf("error %q holds the signature", err)
			}
			return
		}
		if tok.Reveal() != compact || strings.ContainsAny(compact, "\r\n\x00 ") {
			t.Error("not the token, or one that no header can hold")
		}
		if !tok.Expires().After(tok.Issued()) || !tok.Expires().After(received) || tok.Expires().After(received.Add(maxTokenLife+clockSkew)) {
			t.Errorf("lives from %v to %v", tok.Issued(), tok.Expires())
		}
		parts := strings.Split(compact, ".")
		var header, claims map[string]any
		for i, into := range []*map[string]any{&header, &claims} {
			if text, err := base64.RawURLEncoding.DecodeString(parts[i]); err != nil || json.Unmarshal(text, into) != nil {
				t.Fatalf("part %d is %q", i, parts[i])
			}
		}
		if alg := header["alg"]; alg != jose.ES256 && alg != jose.RS256 && alg != jose.EdDSA || header["crit"] != nil {
			t.Errorf("header %v", header)
		}
		if list, ok := claims["aud"].([]any); claims["aud"] != any("a") && !(ok && len(list) == 1 && list[0] == "a") || claims["sub"] != "pr1:x" {
			t.Errorf("claims %v", claims)
		}
		if id := tok.ID(); id != "" && !isName(id) {
			t.Errorf("id %q", id)
		}
	})
}
