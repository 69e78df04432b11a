package forgery

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What genuine tokens say, and what forged ones would have a receiver believe.
const (
	Audience = "https://ledger.test" // of the receiver
	Workload = "pr1:genuine"
	Victim   = "pr1:victim"
	issuerID = "op1:forgery"
)

// Algorithms are those of the issuer's keys, one each.
var Algorithms = []string{"ES256", "RS256", "EdDSA"}

// b64 is the encoding of a token's parts (RFC 7515 section 2).
var b64 = base64.RawURLEncoding

// Issuer is an issuer of tokens with a key for each algorithm.
type Issuer struct {
	KeysURL string // where the public keys are

	keys   map[string]crypto.Signer // by algorithm, which is also the kid
	public map[string]string        // as JWKs
	// strays counts requests to the place that forged headers say keys are at.
	strays atomic.Int64
	trap   string
}

// NewIssuer makes keys and publishes them on loopback until the test ends.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	es, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	i := &Issuer{keys: map[string]crypto.Signer{"ES256": es, "RS256": rs, "EdDSA": ed}, public: map[string]string{}}
	for algorithm, key := range i.keys {
		i.public[algorithm] = publicJWK(algorithm, key.Public())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			i.strays.Add(1)
		}
		fmt.Fprintf(w, `{"keys":[%s,%s,%s]}`, i.public["ES256"], i.public["RS256"], i.public["EdDSA"])
	}))
	t.Cleanup(server.Close)
	i.KeysURL, i.trap = server.URL+"/keys", server.URL+"/elsewhere"
	return i
}

// Strays returns how often somebody went where a token's header pointed to.
func (i *Issuer) Strays() int64 { return i.strays.Load() }

// Genuine returns a token that says who Workload is, for this audience.
func (i *Issuer) Genuine(algorithm, audience string) string {
	return i.genuine(algorithm, claims(Workload, audience, time.Now().Add(time.Hour)))
}

// genuine signs claims so that every character that base64url has instead of
// another, and every stray bit, is in the token: what a lenient decoder would let
// pass can then be tried on each part.
func (i *Issuer) genuine(algorithm string, all map[string]any) string {
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT","n":"?~?~?~"}`, algorithm, algorithm)
	for try := 0; ; try++ {
		all["jti"] = fmt.Sprintf("jwt1:%d?~?~?~%s", try, strings.Repeat(">", try%3))
		token := i.Sign(algorithm, header, encode(all))
		parts := strings.Split(token, ".")
		if try > 1000 || strings.ContainsAny(parts[2], "-_") && strings.ContainsAny(parts[1], "-_") && len(parts[1])%4 != 0 {
			return token
		}
	}
}

// claims are those of a genuine token.
func claims(subject, audience string, expires time.Time) map[string]any {
	issued := time.Now().Add(-time.Minute)
	return map[string]any{
		"iss": issuerID, "sub": subject, "aud": []string{audience}, "iat": issued.Unix(), "nbf": issued.Unix(),
		"exp": expires.Unix(), "jti": "jwt1:a", "extra": map[string]any{"tags": []string{"eyes"}},
	}
}

// Sign signs any header and payload by the issuer's key for the algorithm,
// whatever the header says.
func (i *Issuer) Sign(algorithm, header, payload string) string {
	return sign(i.keys[algorithm], header, payload)
}

func sign(key crypto.Signer, header, payload string) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return input + "." + b64.EncodeToString(signature(key, []byte(input)))
}

// signature is what RFC 7518 section 3 and RFC 8037 section 3.1 have follow.
func signature(key crypto.Signer, input []byte) []byte {
	digest := sha256.Sum256(input)
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			panic(err) // of a curve that has no order
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		if err != nil {
			panic(err) // of a key that is too short
		}
		return signed
	case ed25519.PrivateKey:
		return ed25519.Sign(key, input)
	}
	panic(fmt.Sprintf("no way to sign with a %T", key))
}

func publicJWK(algorithm string, public crypto.PublicKey) string {
	members := map[string]string{"kid": algorithm, "alg": algorithm, "use": "sig"}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			panic(err) // of a point off its curve
		}
		members["kty"], members["crv"] = "EC", "P-256"
		members["x"], members["y"] = b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])
	case *rsa.PublicKey:
		members["kty"] = "RSA"
		members["n"], members["e"] = b64.EncodeToString(key.N.Bytes()), b64.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	case ed25519.PublicKey:
		members["kty"], members["crv"], members["x"] = "OKP", "Ed25519", b64.EncodeToString(key)
	}
	return encode(members)
}

func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of something that is no JSON
	}
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
