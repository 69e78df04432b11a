package operator

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// FuzzParseIDToken holds what the cache, the data path and the logs rely on,
// whatever an authority answers.
func FuzzParseIDToken(f *testing.F) {
	for _, payload := range []string{
		`{"jti":"jwt1:abc","iat":1704619185,"exp":1704791985}`, `{"exp":1.7e9}`, `{"jti":"a\nb","exp":9e18}`,
		`{"iat":253402300799,"exp":253402300799}`, `{"exp":null}`, `[]`, `{"exp":-0}`,
	} {
		f.Add("e30." + encode(payload) + ".c2ln")
	}
	f.Add("..")
	f.Add("a.b.c.d")
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &clock{now: func() time.Time { return received }}
	f.Fuzz(func(t *testing.T, compact string) {
		tok, err := parseIDToken(compact, c, received)
		if err != nil {
			if !tok.IsZero() {
				t.Error("a token and an error")
			}
			if parts := strings.Split(compact, "."); len(parts) == 3 && len(parts[2]) > 8 && strings.Contains(err.Error(), parts[2]) {
				t.Errorf("error %q holds the signature", err)
			}
			return
		}
		if tok.Reveal() != compact || strings.ContainsAny(compact, "\r\n\x00 ") {
			t.Error("not the token, or one that no header can hold")
		}
		if !tok.Expires().After(tok.Issued()) || tok.Expires().Year() > 9999 {
			t.Errorf("lives from %v to %v", tok.Issued(), tok.Expires())
		}
		var claims struct{ Exp, Iat float64 }
		if payload, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1]); err != nil || json.Unmarshal(payload, &claims) != nil ||
			claims.Exp < 0 || claims.Exp > latestDate || claims.Iat < 0 || claims.Iat > latestDate {
			t.Errorf("payload %q", payload)
		}
		if id := tok.ID(); id != "" && !isName(id) {
			t.Errorf("id %q", id)
		}
	})
}
