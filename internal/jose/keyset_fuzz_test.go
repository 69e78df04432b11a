package jose

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// FuzzKeySet has no published set panic: not where it is read, and not where each of its
// keys meets a token that names it.
func FuzzKeySet(f *testing.F) {
	for _, algorithm := range Algorithms() {
		signer, err := GenerateSigner(algorithm)
		if err != nil {
			f.Fatal(err)
		}
		published, err := signer.Public().Published()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fmt.Appendf(nil, `{"keys":[%s]}`, published))
	}
	number := strings.Repeat("A", 342)
	for _, key := range []string{
		`{"kty":"OKP","crv":"Ed25519","x":"AQ","kid":"k","alg":"EdDSA"}`,
		`{"kty":"OKP","crv":"X25519","x":"AQ","kid":"k","alg":"EdDSA"}`,
		`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"k","alg":"ES256"}`,
		`{"kty":"RSA","n":"_` + number + `","e":"AA","kid":"k","alg":"RS256"}`,
		`{"kty":"RSA","n":"_` + number + `","e":"_____________w","kid":"k","alg":"RS256"}`,
		`{"kty":"oct","k":"","kid":"k","alg":"HS256"}`, `null`, `[]`, `1`,
	} {
		f.Add(fmt.Appendf(nil, `{"keys":[%s]}`, key))
	}
	f.Fuzz(func(t *testing.T, published []byte) {
		keys, err := ParseKeySet(published)
		if err != nil {
			return
		}
		for id, key := range keys.keys {
			if _, err := tokenNaming(t, id, key).VerifyBy(keys); err == nil {
				t.Errorf("a signature that nobody made fits the key %s", key.JWK())
			}
		}
	})
}

// tokenNaming is a message whose header names the key, with the length of signature
// that the key's algorithm has.
func tokenNaming(t *testing.T, id string, key PublicKey) *Message {
	t.Helper()
	header, err := json.Marshal(Header{Algorithm: key.Algorithm(), KeyID: id})
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1
	compact := base64url.EncodeToString(header) + ".e30." + base64url.EncodeToString(signature)
	message, err := Parse(compact)
	if err != nil {
		return &Message{header: Header{Algorithm: key.Algorithm(), KeyID: id}, signature: signature} // the id is too long for one
	}
	return message
}
