package jose

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// setOf reads a key set as an issuer publishes it.
func setOf(t *testing.T, keys ...string) (KeySet, error) {
	t.Helper()
	return ParseKeySet([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`))
}

// leftOut is what the set says of keys that it does not use.
func leftOut(keys KeySet) string {
	_, reasons := keys.LeftOut()
	return strings.Join(reasons, "; ")
}

// described is a public key with further members.
func described(key PublicKey, members string) string {
	return strings.Replace(key.JWK(), "{", "{"+members+",", 1)
}

func TestKeySet(t *testing.T) {
	for _, algorithm := range Algorithms() {
		signer, err := GenerateSigner(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		public := signer.Public()
		keys, err := setOf(t, described(public, fmt.Sprintf(`"kid":%q,"alg":%q,"use":"sig"`, public.Thumbprint(), algorithm)))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := signer.Sign("JWT", map[string]any{"sub": "me"})
		if err != nil {
			t.Fatal(err)
		}
		message, err := Parse(compact)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := message.VerifyBy(keys)
		if subject, _ := claims.String("sub"); err != nil || subject != "me" || string(claims.JSON()) != `{"sub":"me"}` {
			t.Errorf("%s: %s, %v", algorithm, claims.JSON(), err)
		}
		if _, err := message.VerifyBy(KeySet{}); err == nil {
			t.Errorf("%s: accepted by no key", algorithm)
		}
	}
}

// Only a key that says what it is for verifies tokens.
func TestKeysLeftOutOfASet(t *testing.T) {
	_, public := newKey(t)
	for name, test := range map[string]struct {
		key string
		why string // it is left out; "" is that it is used
	}{
		"as we publish it":   {described(public, `"kid":"k","alg":"ES256","use":"sig"`), ""},
		"without use":        {described(public, `"kid":"k","alg":"ES256"`), ""},
		"to verify":          {described(public, `"kid":"k","alg":"ES256","key_ops":["verify"]`), ""},
		"unknown members":    {described(public, `"kid":"k","alg":"ES256","nbf":1`), ""},
		"without alg":        {described(public, `"kid":"k"`), "it has no alg"},
		"another alg":        {described(public, `"kid":"k","alg":"ES384"`), "alg is not ES256"},
		"alg none":           {described(public, `"kid":"k","alg":"none"`), "alg is not ES256"},
		"to encrypt":         {described(public, `"kid":"k","alg":"ES256","use":"enc"`), "use is not sig"},
		"to encrypt, by ops": {described(public, `"kid":"k","alg":"ES256","key_ops":["encrypt"]`), "key_ops lack verify"},
		"without kid":        {described(public, `"alg":"ES256"`), "it has no kid"},
		"symmetric":          {`{"kty":"oct","k":"AAAA","kid":"k","alg":"HS256"}`, "no public key"},
		"of an unknown type": {`{"kty":"AKP","kid":"k","alg":"ML-DSA-44"}`, "unknown type"},
		"no object":          {`7`, "cannot be read"},
	} {
		keys, err := setOf(t, test.key)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		leftOut := leftOut(keys)
		if _, used := keys.Key("k"); used != (test.why == "") || used == (leftOut != "") || !strings.Contains(leftOut, test.why) {
			t.Errorf("%s: used %v, left out %q, want %q", name, used, leftOut, test.why)
		}
	}
	private, err := GenerateSigner(ES256)
	if err != nil {
		t.Fatal(err)
	}
	withSecret, err := jwk.FromRaw(*private.secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"kid": "k", "alg": "ES256"} {
		if err := withSecret.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(withSecret)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := setOf(t, string(text))
	if _, used := keys.Key("k"); used || err != nil {
		t.Errorf("a private key: used %v, %v", used, err)
	}
}

func TestTwoKeysWithOneID(t *testing.T) {
	_, one := newKey(t)
	_, other := newKey(t)
	const members = `"kid":"k","alg":"ES256"`
	if _, err := setOf(t, described(one, members), described(other, members)); err == nil {
		t.Error("accepted; which of them would a token mean?")
	}
	keys, err := setOf(t, described(one, members), described(other, `"kid":"k","alg":"ES256","use":"enc"`))
	if key, _ := keys.Key("k"); err != nil || key.Thumbprint() != one.Thumbprint() {
		t.Errorf("the other is not for signatures: %v", err)
	}
}

// What is no key set is an error, and not one without keys.
func TestNoKeySet(t *testing.T) {
	for _, text := range []string{``, `null`, `[]`, `{}`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[],"keys":[]}`, `{"keys":[]} {}`, `<html>`} {
		if keys, err := ParseKeySet([]byte(text)); err == nil {
			t.Errorf("%s: %d keys", text, keys.Len())
		}
	}
	if keys, err := ParseKeySet([]byte(`{"keys":[]}`)); err != nil || keys.Len() != 0 {
		t.Errorf("a set without keys: %d, %v", keys.Len(), err)
	}
}

// A set is bounded, whatever its entries are, before any of them is read; the reasons
// for leaving keys out are too.
func TestSetOfManyKeys(t *testing.T) {
	_, public := newKey(t)
	good := described(public, `"kid":"k","alg":"ES256"`)
	entries := []string{good}
	for len(entries) < maxSetKeys {
		entries = append(entries, "1")
	}
	keys, err := setOf(t, entries...)
	if err != nil {
		t.Fatalf("%d keys: %v", len(entries), err)
	}
	if count, reasons := keys.LeftOut(); keys.Len() != 1 || count != maxSetKeys-1 || len(reasons) != maxLeftOutShown || !strings.HasPrefix(reasons[0], "key 2 ") {
		t.Errorf("of %d keys %d are used, %d left out: %q", len(entries), keys.Len(), count, reasons)
	}
	if _, err := setOf(t, append(entries, "1")...); err == nil || !strings.Contains(err.Error(), "more than 100 keys") {
		t.Errorf("one more: %v", err)
	}
}

// What a set of a mebibyte costs that is made to cost much.
func TestCostOfAHostileSet(t *testing.T) {
	const size = 1 << 20
	_, public := newKey(t)
	good := described(public, `"kid":"k","alg":"ES256"`)
	numbers := `{"keys":[` + good + strings.Repeat(",1", (size-len(good)-11)/2) + `]}`
	var err error
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err = ParseKeySet([]byte(numbers))
		}
	})
	if err == nil {
		t.Errorf("a set of %d bytes of numbers is taken", len(numbers))
	}
	if allocated := result.AllocedBytesPerOp(); allocated > 16*size {
		t.Errorf("a set of %d bytes costs %d bytes", len(numbers), allocated)
	}
}

func TestRSAKeysAreBounded(t *testing.T) {
	for bits, taken := range map[int]bool{rsaBits - 1: false, rsaBits: true, maxRSABits: true, maxRSABits + 1: false} {
		modulus := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		modulus.SetBit(modulus, 0, 1)
		if _, err := NewPublicKey(&rsa.PublicKey{N: modulus, E: 65537}); (err == nil) != taken {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}
