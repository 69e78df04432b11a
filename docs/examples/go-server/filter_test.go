package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// published is a key as it stands in a set.
func published(t *testing.T, raw any, members map[string]any) string {
	t.Helper()
	key, err := jwk.FromRaw(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		if err := key.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rsaKey is a key of so many bits that nobody can sign with.
func rsaKey(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func curveKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeysToUse(t *testing.T) {
	private := curveKey(t, elliptic.P256())
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := func(alg jwa.SignatureAlgorithm) map[string]any { return map[string]any{"kid": "k", "alg": alg} }
	for _, test := range []struct {
		name string
		key  string
		used bool
	}{
		{"ES256", published(t, &private.PublicKey, by(jwa.ES256)), true},
		{"RS256", published(t, rsaKey(2048), by(jwa.RS256)), true},
		{"EdDSA", published(t, edwards, by(jwa.EdDSA)), true},
		{"for signatures", published(t, edwards, map[string]any{"kid": "k", "alg": jwa.EdDSA, "use": "sig", "key_ops": []string{"verify"}}), true},
		{"symmetric", published(t, []byte(strings.Repeat("k", 32)), by(jwa.HS256)), false},
		{"private", published(t, private, by(jwa.ES256)), false},
		{"ES384", published(t, &curveKey(t, elliptic.P384()).PublicKey, by(jwa.ES384)), false},
		{"ES256 by P-384", published(t, &curveKey(t, elliptic.P384()).PublicKey, by(jwa.ES256)), false},
		{"PS256", published(t, rsaKey(2048), by(jwa.PS256)), false},
		{"RSA of 1024 bits", published(t, rsaKey(1024), by(jwa.RS256)), false},
		{"RSA of 16384 bits", published(t, rsaKey(16384), by(jwa.RS256)), false},
		{"Ed25519 of one byte", `{"kty":"OKP","crv":"Ed25519","x":"AQ","kid":"k","alg":"EdDSA"}`, false},
		{"without alg", published(t, edwards, map[string]any{"kid": "k"}), false},
		{"without kid", published(t, edwards, map[string]any{"alg": jwa.EdDSA}), false},
		{"to encrypt", published(t, edwards, map[string]any{"kid": "k", "alg": jwa.EdDSA, "use": "enc"}), false},
		{"to sign", published(t, edwards, map[string]any{"kid": "k", "alg": jwa.EdDSA, "key_ops": []string{"sign"}}), false},
		{"of an unknown type", `{"kty":"AKP","kid":"k","alg":"ML-DSA-44"}`, false},
		{"no key", `1`, false},
	} {
		set, err := keysToUse(fmt.Appendf(nil, `{"keys":[%s]}`, test.key))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if used := set.Len() == 1; used != test.used {
			t.Errorf("%s: used: %v", test.name, used)
		}
	}
}

func TestNoSetToUse(t *testing.T) {
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one := published(t, edwards, map[string]any{"kid": "k", "alg": jwa.EdDSA})
	for name, text := range map[string]string{
		"two keys of one id": `{"keys":[` + one + `,` + one + `]}`,
		"too many keys":      `{"keys":[1` + strings.Repeat(",1", maxKeys) + `]}`,
		"no JSON":            `<html>`,
		"no list":            `{}`,
		"another object":     `{"error":"try again later"}`,
		"null for a list":    `{"keys":null}`,
		"an object for it":   `{"keys":{}}`,
		"no object":          `null`,
	} {
		if _, err := keysToUse([]byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
