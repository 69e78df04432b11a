package jose

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// forgeable reports whether a signature that needs no private key (R is the identity, S
// is 0) fits some message under the key: of order n, about every nth message.
func forgeable(key ed25519.PublicKey) bool {
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1
	for i := range 1000 {
		if ed25519.Verify(key, fmt.Append(nil, i), signature) {
			return true
		}
	}
	return false
}

// Every entry of the table is a key under which crypto/ed25519 takes what nobody
// signed, and none of them becomes a PublicKey, whichever way its sign bit is.
func TestEd25519KeysOfSmallOrder(t *testing.T) {
	for _, text := range smallOrderY {
		point, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if !forgeable(point) {
			t.Errorf("%s is a key like any other", text)
		}
		for range 2 {
			if _, err := NewPublicKey(ed25519.PublicKey(point)); err == nil || !strings.Contains(err.Error(), "small order") {
				t.Errorf("%x: %v", point, err)
			}
			point[len(point)-1] ^= signOfX
		}
	}
}

// A key of another length makes crypto/ed25519 panic: it is left out of a set, beside
// which the set's other keys are used.
func TestEd25519KeysOfAnotherLength(t *testing.T) {
	_, good := newKey(t)
	for _, length := range []int{1, 31, 33, 64} {
		key := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q,"kid":"short","alg":"EdDSA"}`, base64url.EncodeToString(make([]byte, length)))
		keys, err := setOf(t, key, described(good, `"kid":"good","alg":"ES256"`))
		if err != nil {
			t.Fatal(err)
		}
		if _, used := keys.Key("short"); used {
			t.Errorf("a key of %d bytes is used", length)
		}
		if _, used := keys.Key("good"); !used {
			t.Errorf("beside a key of %d bytes, another is not used", length)
		}
		if leftOut := leftOut(keys); !strings.Contains(leftOut, fmt.Sprintf("Ed25519 key of %d bytes", length)) {
			t.Errorf("left out: %s", leftOut)
		}
	}
}
