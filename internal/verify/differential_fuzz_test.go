package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	gojwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/jose"
)

// fuzzNow is when tokens are looked at.
var fuzzNow = time.Unix(1_800_000_000, 0)

// readers are all that read one token: the receiving side, the authority's parser
// with each key, and two foreign libraries.
type readers struct {
	verifier *Verifier
	keys     []fuzzKey
	// published are the same keys for those who read with jwx.
	published jwk.Set
}

// fuzzKey is a key that is the same in every run, so that inputs which were found
// stay what they are.
type fuzzKey struct {
	algorithm jwa.SignatureAlgorithm
	secret    crypto.Signer
	public    jose.PublicKey
}

func newReaders(f testing.TB) *readers {
	f.Helper()
	secret := bytes.Repeat([]byte{7}, 32)
	es, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	if err != nil {
		f.Fatal(err)
	}
	r := &readers{}
	var published []string
	for algorithm, key := range map[jwa.SignatureAlgorithm]crypto.Signer{jwa.ES256: es, jwa.EdDSA: ed25519.NewKeyFromSeed(secret)} {
		public, err := jose.NewPublicKey(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		text, err := public.Published()
		if err != nil {
			f.Fatal(err)
		}
		published = append(published, string(text))
		r.keys = append(r.keys, fuzzKey{algorithm, key, public})
	}
	slices.SortFunc(r.keys, func(a, b fuzzKey) int { return strings.Compare(a.algorithm.String(), b.algorithm.String()) })
	text := `{"keys":[` + strings.Join(published, ",") + `]}`
	if r.published, err = jwk.Parse([]byte(text)); err != nil {
		f.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
	f.Cleanup(server.Close)
	r.verifier, err = New(context.Background(), Config{KeysURL: server.URL, Audience: audience, Now: func() time.Time { return fuzzNow }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.verifier.Close)
	return r
}

// sign signs any header and payload.
func (k fuzzKey) sign(t *testing.T, header, payload string) string {
	t.Helper()
	signer, err := jws.NewSigner(k.algorithm)
	if err != nil {
		t.Fatal(err)
	}
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature, err := signer.Sign([]byte(input), k.secret)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// said is what a reader takes a token to say.
type said struct {
	payload, sub, iss, jti, exp string
	aud                         []string
}

func (s said) equal(other said) bool {
	return s.payload == other.payload && s.sub == other.sub && s.iss == other.iss && s.jti == other.jti && s.exp == other.exp &&
		slices.Equal(s.aud, other.aud)
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// byUs reads as the receiving side does.
func (r *readers) byUs(token string) (said, error) {
	c, err := r.verifier.Verify(context.Background(), token)
	return said{payload: string(c.signed), sub: c.Subject, iss: c.Issuer, jti: c.TokenID, aud: c.Audience, exp: seconds(c.Expires)}, err
}

// byAuthority returns the payload that the authority's parser takes for signed by
// one of the keys.
func (r *readers) byAuthority(token string) (payload string, key fuzzKey, err error) {
	message, err := jose.Parse(token)
	if err != nil {
		return "", fuzzKey{}, err
	}
	for _, key := range r.keys {
		if claims, err := message.Verify(key.public); err == nil {
			return string(claims.JSON()), key, nil
		}
	}
	return "", fuzzKey{}, errors.New("not signed")
}

// byJWX reads with jwx as docs/verifying.md has readers do.
func (r *readers) byJWX(token string) (said, error) {
	payload, err := jws.Verify([]byte(token), jws.WithCompact(), jws.WithKeySet(r.published, jws.WithInferAlgorithmFromKey(false)))
	if err != nil {
		return said{}, err
	}
	c, err := jwt.ParseString(token, jwt.WithKeySet(r.published, jws.WithInferAlgorithmFromKey(false)), jwt.WithAudience(audience),
		jwt.WithRequiredClaim("exp"), jwt.WithRequiredClaim("sub"), jwt.WithAcceptableSkew(clockSkew),
		jwt.WithClock(jwt.ClockFunc(func() time.Time { return fuzzNow })))
	if err != nil {
		return said{}, err
	}
	return said{payload: string(payload), sub: c.Subject(), iss: c.Issuer(), jti: c.JwtID(), aud: c.Audience(), exp: seconds(c.Expiration())}, nil
}

// byGoJOSE reads with go-jose.
func (r *readers) byGoJOSE(token string) (said, error) {
	algorithms := []gojose.SignatureAlgorithm{gojose.ES256, gojose.EdDSA}
	parsed, err := gojwt.ParseSigned(token, algorithms)
	if err != nil {
		return said{}, err
	}
	key, err := r.goJOSEKey(parsed.Headers[0])
	if err != nil {
		return said{}, err
	}
	var c gojwt.Claims
	if err := parsed.Claims(key, &c); err != nil {
		return said{}, err
	}
	message, err := gojose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return said{}, err
	}
	payload, err := message.Verify(key)
	if err != nil {
		return said{}, err
	}
	if c.Expiry == nil || c.Subject == "" {
		return said{}, errors.New("no exp or sub")
	}
	err = c.ValidateWithLeeway(gojwt.Expected{AnyAudience: gojwt.Audience{audience}, Time: fuzzNow}, clockSkew)
	return said{payload: string(payload), sub: c.Subject, iss: c.Issuer, jti: c.ID, aud: c.Audience, exp: seconds(c.Expiry.Time())}, err
}

func (r *readers) goJOSEKey(header gojose.Header) (crypto.PublicKey, error) {
	for _, key := range r.keys {
		if header.KeyID == key.public.Thumbprint() && header.Algorithm == key.algorithm.String() {
			return key.secret.Public(), nil
		}
	}
	return nil, errors.New("no key")
}

// judge holds the invariants: what we accept, as receiver or as authority, every
// foreign reader accepts, as the same bytes that say the same; what the receiver
// accepts, the authority's parser does; and it was signed.
func (r *readers) judge(t *testing.T, token string, signed []string) {
	t.Helper()
	ours, err := r.byUs(token)
	if err == nil {
		for name, read := range map[string]func(string) (said, error){"jwx": r.byJWX, "go-jose": r.byGoJOSE} {
			theirs, err := read(token)
			if err != nil || !theirs.equal(ours) {
				t.Errorf("we read %+v of %q\n%s reads %+v, %v", ours, token, name, theirs, err)
			}
		}
		if payload, _, err := r.byAuthority(token); len(token) <= jose.MaxLength && (err != nil || payload != ours.payload) {
			t.Errorf("we read %+v of %q\nthe authority's parser reads %q, %v", ours, token, payload, err)
		}
		if !slices.Contains(signed, ours.payload) {
			t.Errorf("we accept %q, which says %q, and nobody signed that", token, ours.payload)
		}
		if !isStrict(token) {
			t.Errorf("we accept %q, which has another spelling", token)
		}
	}
	payload, key, err := r.byAuthority(token)
	if err != nil {
		return
	}
	theirs, err := jws.Verify([]byte(token), jws.WithCompact(), jws.WithKey(key.algorithm, key.secret.Public()))
	if err != nil || string(theirs) != payload {
		t.Errorf("the authority's parser reads %q of %q\njwx reads %q, %v", payload, token, theirs, err)
	}
	message, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(key.algorithm)})
	if err == nil {
		theirs, err = message.Verify(key.secret.Public())
	}
	if err != nil || string(theirs) != payload {
		t.Errorf("the authority's parser reads %q of %q\ngo-jose reads %q, %v", payload, token, theirs, err)
	}
	var loose map[string]any
	if err := json.Unmarshal([]byte(payload), &loose); err != nil {
		t.Errorf("the authority's parser takes %q for claims; encoding/json: %v", payload, err)
	}
	if !slices.Contains(signed, payload) || !isStrict(token) {
		t.Errorf("the authority's parser accepts %q, which nobody signed, or not in that spelling", token)
	}
}

// isStrict reports whether the token is three parts of base64url in its one spelling.
func isStrict(token string) bool {
	parts := strings.Split(token, ".")
	for _, part := range parts {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(decoded) != part {
			return false
		}
	}
	return len(parts) == 3
}

// The ways in which a signed token is written otherwise, or changed.
const (
	asIs = iota
	inserted
	overwritten
	cut
	flattened
	general
	padded
	standardAlphabet
	otherHeader
	otherPayload
	nested
	ways
)

// rewrite changes a token as somebody without the key can.
func rewrite(token string, way, at int, with string) string {
	parts := strings.Split(token, ".")
	at %= len(token)
	switch way {
	case inserted:
		return token[:at] + with + token[at:]
	case overwritten:
		return token[:at] + with + token[min(len(token), at+len(with)):]
	case cut:
		return token[:at] + token[min(len(token), at+len(with)):]
	case flattened:
		return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q%s}`, parts[1], parts[0], parts[2], with)
	case general:
		return fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]%s}`, parts[1], parts[0], parts[2], with)
	case padded:
		parts[at%3] += "="
	case standardAlphabet:
		return strings.NewReplacer("-", "+", "_", "/").Replace(token)
	case otherHeader:
		parts[0] = base64.RawURLEncoding.EncodeToString([]byte(with))
	case otherPayload:
		parts[1] = base64.RawURLEncoding.EncodeToString([]byte(with))
	}
	return strings.Join(parts, ".")
}

// FuzzDifferential signs any header and payload, writes the token otherwise, and has
// everybody read it.
func FuzzDifferential(f *testing.F) {
	r := newReaders(f)
	const payload = fuzzPayload
	const outer = `,"sub":"pr1:b","aud":"` + audience + `","exp":1900000000`
	for which, key := range r.keys {
		header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, key.algorithm, key.public.Thumbprint())
		for way := range ways {
			f.Add(uint8(which), header, payload, uint8(way), uint16(90), outer)
		}
		for _, more := range oddHeaders {
			f.Add(uint8(which), strings.Replace(header, "}", ","+more+"}", 1), payload, uint8(asIs), uint16(0), "")
		}
		for _, more := range oddClaims {
			f.Add(uint8(which), header, strings.Replace(payload, "}}", "},"+more+"}", 1), uint8(asIs), uint16(0), "")
		}
		for _, exp := range []string{"1.8e9", "1800000100.0", "18000001e2", "1800000000.5", "1799999970.9", "1799999971", "2e9", "253402300799", "1E+10"} {
			f.Add(uint8(which), header, strings.Replace(payload, "1800000100", exp, 1), uint8(asIs), uint16(0), "")
		}
		f.Add(uint8(which), header, payload, uint8(inserted), uint16(20), "\n")
		f.Add(uint8(which), header, payload, uint8(overwritten), uint16(len(header)+len(payload)), ".")
	}
	f.Fuzz(func(t *testing.T, which uint8, header, payload string, way uint8, at uint16, with string) {
		key := r.keys[int(which)%len(r.keys)]
		signed := []string{payload}
		token := key.sign(t, header, payload)
		if way%ways == nested {
			signed = append(signed, token)
			token = key.sign(t, with, token)
		}
		r.judge(t, rewrite(token, int(way%ways), int(at), with), signed)
	})
}

// fuzzPayload is a token's for everybody.
const fuzzPayload = `{"sub":"pr1:a","iss":"op1:a","jti":"j","aud":["` + audience + `"],"exp":1800000100,"nbf":1799999999,"iat":1799999999.5,"extra":{"tags":["x"]}}`

// oddHeaders and oddClaims are members that a reader may know as something else, or
// cannot read at all.
var (
	oddHeaders = []string{`"nonce":1`, `"nonce":"n"`, `"url":1`, `"epk":{}`, `"apu":1`, `"p2c":"x"`, `"iat":"x"`, `"jwk":null`, `"cty":"JWT"`,
		`"cty":1`, `"n":1e400`, `"n":-0`, `"n":1e-400`, `"n":123456789012345678901234567890`, `"\u0000":1`, `"":1`, `"KID":"x"`, `"Alg":"none"`, `"ſub":"x"`}
	oddClaims = []string{`"n":1e400`, `"n":-0`, `"n":1e-400`, `"n":[[[[1e999]]]]`, `"n":123456789012345678901234567890`, `"":1`, `"\u0000":"\u0000"`,
		`"SUB":"x"`, `"Exp":1`, `"AUD":"x"`, `"email":1`, `"address":"x"`, `"updated_at":"x"`, `"birthdate":1`, `"scope":1`, `"cnf":{"jwk":{}}`,
		`"n":"\ud83d\ude00"`, `"<":"\u2028"`, `"n":null`, `"n":{"a":{"a":1}}`, `"privateClaims":1`, `"typ":1`, `"payload":"x","signatures":[]`,
		`"keys":[]`, `"kty":"EC"`, `"ciphertext":"x"`, `"payload":"e30","protected":"e30","signature":""`}
)

// TestGenuineForEveryReader: otherwise the fuzz target's invariants would be about
// nothing.
func TestGenuineForEveryReader(t *testing.T) {
	r := newReaders(t)
	for _, key := range r.keys {
		token := key.sign(t, fmt.Sprintf(`{"alg":%q,"kid":%q}`, key.algorithm, key.public.Thumbprint()), fuzzPayload)
		if got, err := r.byUs(token); err != nil || got.sub != "pr1:a" {
			t.Errorf("%s: the receiver reads %+v, %v", key.algorithm, got, err)
		}
		if got, _, err := r.byAuthority(token); err != nil || got != fuzzPayload {
			t.Errorf("%s: the authority's parser reads %s, %v", key.algorithm, got, err)
		}
		r.judge(t, token, []string{fuzzPayload})
	}
}
