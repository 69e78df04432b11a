package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/test/lab"
)

func newKey(t testing.TB) (*ecdsa.PrivateKey, PublicKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := NewPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// craft signs any header and payload with key.
func craft(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	signed := base64url.EncodeToString([]byte(header)) + "." + base64url.EncodeToString([]byte(payload))
	signer, err := jws.NewSigner(jwa.ES256)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign([]byte(signed), key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64url.EncodeToString(sig)
}

func verify(compact string, key PublicKey) error {
	m, err := Parse(compact)
	if err != nil {
		return err
	}
	_, err = m.Verify(key)
	return err
}

func TestThumbprintIsRFC7638(t *testing.T) {
	_, public := newKey(t)
	key, err := jwk.ParseKey([]byte(public.JWK()))
	if err != nil {
		t.Fatal(err)
	}
	if err := jwk.AssignKeyID(key); err != nil {
		t.Fatal(err)
	}
	if key.KeyID() != public.Thumbprint() {
		t.Errorf("thumbprint %s, jwx says %s", public.Thumbprint(), key.KeyID())
	}
}

func TestHeadersThatChooseTheirOwnRules(t *testing.T) {
	private, public := newKey(t)
	attacker, attackerPublic := newKey(t)
	const payload = `{"iss":"me"}`
	tests := map[string]string{
		"embedded jwk":      craft(t, attacker, `{"alg":"ES256","jwk":`+attackerPublic.JWK()+`}`, payload),
		"own jwk embedded":  craft(t, private, `{"alg":"ES256","jwk":`+public.JWK()+`}`, payload),
		"jku":               craft(t, private, `{"alg":"ES256","jku":"https://attacker.example/keys"}`, payload),
		"x5u":               craft(t, private, `{"alg":"ES256","x5u":"https://attacker.example/cert"}`, payload),
		"x5c":               craft(t, private, `{"alg":"ES256","x5c":["AAAA"]}`, payload),
		"crit":              craft(t, private, `{"alg":"ES256","crit":["exp"],"exp":1}`, payload),
		"crit empty":        craft(t, private, `{"alg":"ES256","crit":[]}`, payload),
		"nested":            craft(t, private, `{"alg":"ES256","cty":"JWT"}`, payload),
		"b64":               craft(t, private, `{"alg":"ES256","b64":false}`, payload),
		"foreign kid":       craft(t, private, `{"alg":"ES256","kid":"`+attackerPublic.Thumbprint()+`"}`, payload),
		"no alg":            craft(t, private, `{}`, payload),
		"ES384":             craft(t, private, `{"alg":"ES384"}`, payload),
		"RS256":             craft(t, private, `{"alg":"RS256"}`, payload),
		"alg twice":         craft(t, private, `{"alg":"none","alg":"ES256"}`, payload),
		"Alg":               craft(t, private, `{"Alg":"ES256"}`, payload),
		"alg null":          craft(t, private, `{"alg":null}`, payload),
		"nonce is a number": craft(t, private, `{"alg":"ES256","nonce":7}`, payload),
		"kid is a number":   craft(t, private, `{"alg":"ES256","kid":7}`, payload),
		"another key":       craft(t, attacker, `{"alg":"ES256"}`, payload),
		"payload array":     craft(t, private, `{"alg":"ES256"}`, `[]`),
		"claim twice":       craft(t, private, `{"alg":"ES256"}`, `{"iss":"a","iss":"b"}`),
		"none":              unsigned(`{"alg":"none"}`, payload),
		"None":              unsigned(`{"alg":"None"}`, payload),
		"no signature":      unsigned(`{"alg":"ES256"}`, payload),
		"HMAC by the key":   hmacBy(t, public, payload),
	}
	for name, compact := range tests {
		t.Run(name, func(t *testing.T) {
			if err := verify(compact, public); err == nil {
				t.Error("accepted")
			} else if strings.Contains(err.Error(), "attacker") {
				t.Errorf("error repeats the message: %v", err)
			}
		})
	}
	for _, header := range []string{`{"alg":"ES256"}`, `{"alg":"ES256","kid":"` + public.Thumbprint() + `","typ":"JWT","other":1}`} {
		if err := verify(craft(t, private, header, payload), public); err != nil {
			t.Errorf("header %s: %v", header, err)
		}
	}
}

func unsigned(header, payload string) string {
	return base64url.EncodeToString([]byte(header)) + "." + base64url.EncodeToString([]byte(payload)) + "."
}

func hmacBy(t *testing.T, public PublicKey, payload string) string {
	t.Helper()
	signed := strings.TrimSuffix(unsigned(`{"alg":"HS256"}`, payload), ".")
	mac := hmac.New(sha256.New, []byte(public.JWK()))
	mac.Write([]byte(signed))
	return signed + "." + base64url.EncodeToString(mac.Sum(nil))
}

func TestEncodings(t *testing.T) {
	private, public := newKey(t)
	good := craft(t, private, `{"alg":"ES256"}`, `{"iss":"me"}`)
	for name, compact := range map[string]string{
		"empty":      "",
		"two parts":  good[:strings.LastIndex(good, ".")],
		"four parts": good + ".",
		"padding":    strings.Replace(good, ".", "=.", 1),
		"stray bits": withStrayBits(good),
		"line break": good + "\n",
		"space":      good + " ",
		"too long":   good + strings.Repeat("A", MaxLength),
		"JSON":       `{"payload":"","protected":"","signature":""}`,
	} {
		if err := verify(compact, public); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// withStrayBits sets bits of the last character that no byte of the signature has: its
// 64 bytes are 85 characters and two bits.
func withStrayBits(compact string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(compact) - 1
	return compact[:last] + string(alphabet[strings.IndexByte(alphabet, compact[last])|1])
}

func TestPublicKeysRefused(t *testing.T) {
	_, public := newKey(t)
	good := public.JWK()
	var m map[string]string
	if err := json.Unmarshal([]byte(good), &m); err != nil {
		t.Fatal(err)
	}
	for name, jwk := range map[string]string{
		"private":         strings.Replace(good, `"kty"`, `"d":"AAAA","kty"`, 1),
		"symmetric":       `{"kty":"oct","k":"AAAA"}`,
		"RSA":             `{"kty":"RSA","n":"AAAA","e":"AQAB"}`,
		"P-384":           strings.Replace(good, "P-256", "P-384", 1),
		"swapped":         `{"crv":"P-256","kty":"EC","x":"` + m["y"] + `","y":"` + m["x"] + `"}`,
		"off the curve":   `{"crv":"P-256","kty":"EC","x":"` + m["x"] + `","y":"` + m["x"] + `"}`,
		"infinity":        `{"crv":"P-256","kty":"EC","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"short":           `{"crv":"P-256","kty":"EC","x":"AAAA","y":"AAAA"}`,
		"no coordinates":  `{"crv":"P-256","kty":"EC"}`,
		"alg":             strings.Replace(good, `"kty"`, `"alg":"ES384","kty"`, 1),
		"use":             strings.Replace(good, `"kty"`, `"use":"enc","kty"`, 1),
		"unknown member":  strings.Replace(good, `"kty"`, `"x5u":"a","kty"`, 1),
		"not an object":   `"EC"`,
		"null":            `null`,
		"line break":      strings.Replace(good, m["x"], m["x"]+"\\n", 1),
		"padded":          strings.Replace(good, m["x"], m["x"]+"=", 1),
		"case of members": strings.Replace(good, `"kty"`, `"KTY"`, 1),
	} {
		if _, err := ParsePublicKey([]byte(jwk)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	again, err := ParsePublicKey([]byte(good))
	if err != nil || again.Thumbprint() != public.Thumbprint() {
		t.Errorf("the good key: %v", err)
	}
}

func TestClaims(t *testing.T) {
	private, public := newKey(t)
	m, err := Parse(craft(t, private, `{"alg":"ES256"}`,
		`{"s":"x","empty":"","n":1700000000,"f":1700000000.5,"neg":-1,"huge":1e300,"null":null,"list":["x"]}`))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := m.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := claims.String("s"); err != nil || s != "x" {
		t.Errorf("s: %q, %v", s, err)
	}
	for _, name := range []string{"absent", "empty", "n", "null", "list"} {
		if s, err := claims.String(name); err == nil {
			t.Errorf("String(%s) = %q", name, s)
		}
	}
	if at, err := claims.Time("n"); err != nil || !at.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("n: %v, %v", at, err)
	}
	if at, err := claims.Time("f"); err != nil || !at.Equal(time.Unix(1700000000, 5e8)) {
		t.Errorf("f: %v, %v", at, err)
	}
	for _, name := range []string{"absent", "s", "neg", "huge", "null", "list"} {
		if at, err := claims.Time(name); err == nil {
			t.Errorf("Time(%s) = %v", name, at)
		}
	}
	if !claims.Has("null") || claims.Has("absent") {
		t.Error("Has is wrong")
	}
}

// TestForeignVectors reads the messages of RFC 7520 section 4: their keys are
// private, RSA, symmetric or on P-521, so that none may pass for one of ours.
func TestForeignVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(lab.Shared(t, "vectors", "jose", "cookbook", "jws"), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var vector struct {
				Input struct {
					Key json.RawMessage `json:"key"`
				} `json:"input"`
				Output struct {
					Compact string `json:"compact"`
				} `json:"output"`
			}
			if err := json.Unmarshal(data, &vector); err != nil {
				t.Fatal(err)
			}
			if _, err := ParsePublicKey(vector.Input.Key); err == nil {
				t.Error("a private or foreign key was accepted as a public P-256 key")
			}
			_, public := newKey(t)
			if vector.Output.Compact != "" && verify(vector.Output.Compact, public) == nil {
				t.Error("a message by another key was accepted")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	private, public := newKey(f)
	f.Add(craft(f, private, `{"alg":"ES256"}`, `{"iss":"me"}`))
	f.Add(craft(f, private, `{"alg":"ES256"}`, `{"exp":1e300,"iat":-5,"nbf":253402300799.9,"sub":""}`))
	f.Add(unsigned(`{"alg":"none"}`, `{}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, compact string) {
		m, err := Parse(compact)
		if err != nil {
			return
		}
		for name := range m.claims.members {
			if at, err := m.claims.Time(name); err == nil && (at.Year() < 1970 || at.Year() > 10_000) {
				t.Errorf("claim %q is the date %v", name, at)
			}
			if s, err := m.claims.String(name); err == nil && s == "" {
				t.Errorf("claim %q is a string without content", name)
			}
		}
		if _, err := m.Verify(public); err == nil {
			if _, err := jws.Verify([]byte(compact), jws.WithKey(jwa.ES256, public.key)); err != nil {
				t.Fatalf("we accept what jwx refuses: %v", err)
			}
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	_, public := newKey(f)
	f.Add([]byte(public.JWK()))
	f.Add([]byte(`{"kty":"oct","k":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePublicKey(data)
		if err != nil {
			return
		}
		var foreign ecdsa.PublicKey
		if err := jwk.ParseRawKey(data, &foreign); err != nil || !foreign.Equal(key.key) {
			t.Fatalf("jwx reads another key: %v", err)
		}
		if again, err := ParsePublicKey([]byte(key.JWK())); err != nil || again.Thumbprint() != key.Thumbprint() {
			t.Fatalf("canonical form does not parse to the same key: %v", err)
		}
	})
}
