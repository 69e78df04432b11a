package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// Algorithms, each that of one type of key (RFC 7518 section 3, RFC 8037 section 3.1).
const (
	ES256 = "ES256" // EC P-256
	RS256 = "RS256" // RSA
	EdDSA = "EdDSA" // Ed25519
)

const (
	coordinateBytes = 32   // of P-256 (RFC 7518 section 6.2.1.2)
	uncompressed    = 4    // begins a point of both coordinates (SEC 1 section 2.3.3)
	rsaBits         = 2048 // at least (RFC 7518 section 3.3)
	maxRSABits      = 8192 // what a signature costs to verify grows with their square
)

// base64url is the encoding of RFC 7515: no padding, no stray bits.
var base64url = base64.RawURLEncoding.Strict()

// PublicKey is a validated public key with the one algorithm it is used with.
// Only this package's functions make one; it is immutable.
type PublicKey struct {
	key        crypto.PublicKey
	algorithm  jwa.SignatureAlgorithm
	canonical  string // RFC 7638's members, in its order
	thumbprint string
}

// jwkMembers are the members of a public EC key that we read, and those that we
// tolerate. A private key ("d") or anything else is refused.
type jwkMembers struct {
	KeyType   string   `json:"kty"`
	Curve     string   `json:"crv"`
	X         string   `json:"x"`
	Y         string   `json:"y"`
	Algorithm string   `json:"alg"`
	Use       string   `json:"use"`
	KeyID     string   `json:"kid"`
	KeyOps    []string `json:"key_ops"`
	Ext       bool     `json:"ext"` // of exports by the Web Cryptography API; it says nothing of a public key
}

// ParsePublicKey reads a workload's key: a JWK (RFC 7517) that holds an EC P-256
// public key.
func ParsePublicKey(text []byte) (PublicKey, error) {
	var m jwkMembers
	if err := strictjson.Unmarshal(text, &m); err != nil {
		return PublicKey{}, fmt.Errorf("parse jwk: %w", err)
	}
	switch {
	case m.KeyType != "EC" || m.Curve != "P-256":
		return PublicKey{}, errors.New("parse jwk: only kty EC with crv P-256 is accepted")
	case m.Algorithm != "" && m.Algorithm != ES256:
		return PublicKey{}, errors.New("parse jwk: alg is not ES256")
	case m.Use != "" && m.Use != "sig":
		return PublicKey{}, errors.New("parse jwk: use is not sig")
	case m.KeyOps != nil && !slices.Equal(m.KeyOps, []string{"verify"}):
		return PublicKey{}, errors.New("parse jwk: key_ops is not verify alone")
	}
	point := []byte{uncompressed}
	for i, coordinate := range []string{m.X, m.Y} {
		raw, err := decode(coordinate)
		if err != nil || len(raw) != coordinateBytes {
			return PublicKey{}, fmt.Errorf("parse jwk: %c is not %d bytes in base64url", "xy"[i], coordinateBytes)
		}
		point = append(point, raw...)
	}
	// Made of what was read above, not of the text by another reader of it.
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return PublicKey{}, errors.New("parse jwk: no key on P-256")
	}
	return NewPublicKey(key)
}

// ParseSigningKey reads the public half of a signing key, as JWK returned it.
func ParseSigningKey(text []byte) (PublicKey, error) {
	var key any
	if err := jwk.ParseRawKey(text, &key); err != nil {
		return PublicKey{}, errors.New("parse jwk: no public key")
	}
	return NewPublicKey(key)
}

// NewPublicKey describes a public key: EC P-256, RSA of 2048 to 8192 bits, or Ed25519.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	algorithm, err := algorithmOf(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("describe key: %w", err)
	}
	described, err := jwk.FromRaw(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("describe key: %w", err)
	}
	thumbprint, err := described.Thumbprint(crypto.SHA256)
	if err != nil {
		return PublicKey{}, fmt.Errorf("describe key: %w", err)
	}
	canonical, err := json.Marshal(described)
	if err != nil {
		return PublicKey{}, fmt.Errorf("describe key: %w", err)
	}
	return PublicKey{
		key: key, algorithm: algorithm, canonical: string(canonical), thumbprint: base64url.EncodeToString(thumbprint),
	}, nil
}

// algorithmOf returns the one algorithm of a type of key.
func algorithmOf(key crypto.PublicKey) (jwa.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", fmt.Errorf("curve is %s, not P-256", key.Params().Name)
		}
		if _, err := key.Bytes(); err != nil {
			return "", errors.New("the point is not on P-256")
		}
		return jwa.ES256, nil
	case *rsa.PublicKey:
		if key.N.BitLen() < rsaBits {
			return "", fmt.Errorf("RSA key of %d bits; it needs %d", key.N.BitLen(), rsaBits)
		}
		if key.N.BitLen() > maxRSABits {
			return "", fmt.Errorf("RSA key of %d bits; it may have %d", key.N.BitLen(), maxRSABits)
		}
		return jwa.RS256, nil
	case ed25519.PublicKey:
		// crypto/ed25519 panics where the length is another.
		if len(key) != ed25519.PublicKeySize {
			return "", fmt.Errorf("Ed25519 key of %d bytes; it has %d (RFC 8032 section 5.1.5)", len(key), ed25519.PublicKeySize)
		}
		if hasSmallOrder(key) {
			return "", errors.New("Ed25519 key of small order: signatures that anybody can make fit it")
		}
		return jwa.EdDSA, nil
	}
	return "", fmt.Errorf("a %T is no public key to sign with", key)
}

// JWK returns the key as a canonical JWK (RFC 7638) without further members.
func (k PublicKey) JWK() string { return k.canonical }

// Thumbprint returns the key's SHA-256 thumbprint (RFC 7638) in base64url.
func (k PublicKey) Thumbprint() string { return k.thumbprint }

// Algorithm returns the one algorithm the key is used with.
func (k PublicKey) Algorithm() string { return k.algorithm.String() }

// Published returns the key as a member of a JWK set, with kid, alg and use.
func (k PublicKey) Published() (json.RawMessage, error) {
	published, err := jwk.FromRaw(k.key)
	if err != nil {
		return nil, fmt.Errorf("publish key: %w", err)
	}
	err = errors.Join(published.Set(jwk.KeyIDKey, k.thumbprint),
		published.Set(jwk.AlgorithmKey, k.algorithm), published.Set(jwk.KeyUsageKey, jwk.ForSignature))
	if err != nil {
		return nil, fmt.Errorf("publish key: %w", err)
	}
	return json.Marshal(published)
}

// decode reads base64url without padding. (encoding/base64 skips line breaks.)
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("decode base64url: line break")
	}
	return base64url.DecodeString(s)
}

// Digest returns the SHA-256 of data in base64url, as JOSE writes digests.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64url.EncodeToString(sum[:])
}
