package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// TestAnotherImplementationReadsOurs: by every algorithm, also after the key was
// stored and read again.
func TestAnotherImplementationReadsOurs(t *testing.T) {
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			made, err := GenerateSigner(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			der, err := made.PKCS8()
			if err != nil {
				t.Fatal(err)
			}
			signer, err := ParseSigner(der)
			if err != nil {
				t.Fatal(err)
			}
			compact, err := signer.Sign("JWT", map[string]any{"sub": "me"})
			if err != nil {
				t.Fatal(err)
			}
			public, err := ParseSigningKey([]byte(made.Public().JWK()))
			if err != nil {
				t.Fatal(err)
			}
			published, err := public.Published()
			if err != nil {
				t.Fatal(err)
			}
			set, err := jwk.Parse(fmt.Appendf(nil, `{"keys":[%s]}`, published))
			if err != nil {
				t.Fatal(err)
			}
			payload, err := jws.Verify([]byte(compact), jws.WithKeySet(set))
			if err != nil || string(payload) != `{"sub":"me"}` {
				t.Errorf("payload %s, error %v", payload, err)
			}
			header, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[0])
			if want := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, algorithm, public.Thumbprint()); err != nil || string(header) != want {
				t.Errorf("header %s, want %s", header, want)
			}
			key, _ := set.Key(0)
			if key.Algorithm().String() != algorithm || public.Algorithm() != algorithm || key.KeyID() != public.Thumbprint() || key.KeyUsage() != "sig" {
				t.Errorf("published %s", published)
			}
			var members map[string]any
			if err := json.Unmarshal(published, &members); err != nil || members["d"] != nil {
				t.Errorf("published %s", published)
			}
			if err := verify(compact, public); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnAlgorithmIsItsKeys: no signature by one type of key passes for another's.
func TestAnAlgorithmIsItsKeys(t *testing.T) {
	for _, signs := range Algorithms() {
		signer, err := GenerateSigner(signs)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := signer.Sign("JWT", map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		for _, verifies := range Algorithms() {
			other, err := GenerateSigner(verifies)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(compact, ".")
			header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + verifies + `"}`))
			for _, message := range []string{compact, header + "." + rest} {
				if verify(message, other.Public()) == nil {
					t.Errorf("signed by %s, accepted for %s", signs, verifies)
				}
			}
		}
	}
}

func TestSigningKeysRefused(t *testing.T) {
	for _, algorithm := range []string{"", "none", "HS256", "ES384", "es256"} {
		if _, err := GenerateSigner(algorithm); err == nil {
			t.Errorf("algorithm %q: made", algorithm)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{"RSA-1024": &weak.PublicKey, "P-384": &p384.PublicKey, "private": p384, "bytes": []byte("x")} {
		if _, err := NewPublicKey(key); err == nil {
			t.Errorf("%s: described", name)
		}
	}
	if _, err := ParseSigner([]byte("x")); err == nil {
		t.Error("parsed no key")
	}
	if _, err := ParseSigningKey([]byte(`{"kty":"oct","k":"AAAA"}`)); err == nil {
		t.Error("parsed a symmetric key")
	}
}

func TestASignerDoesNotPrint(t *testing.T) {
	signer, err := GenerateSigner(EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	start := (*signer.secret).(ed25519.PrivateKey)[:8]
	decimal := strings.Trim(fmt.Sprint([]byte(start)), "[]")
	hexadecimal := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(start)), "[]byte{"), "}")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{signer, &signer} {
			if shown := fmt.Sprintf(format, value); strings.Contains(shown, decimal) || strings.Contains(shown, hexadecimal) {
				t.Errorf("%s of %T prints the key: %s", format, value, shown)
			}
		}
	}
}
