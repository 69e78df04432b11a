package operator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// pemType is the PEM label of a PKCS #8 private key (RFC 7468 section 10).
const pemType = "PRIVATE KEY"

// key is a workload's EC P-256 key pair. It prints as its thumbprint.
type key struct {
	private    *ecdsa.PrivateKey
	public     json.RawMessage // as a JWK
	thumbprint string          // RFC 7638, SHA-256, base64url
}

// is reports whether the other is the same key; there may be no other.
func (k *key) is(other *key) bool { return other != nil && k.thumbprint == other.thumbprint }

// String keeps the private part out of logs and errors.
func (k *key) String() string { return "key " + k.thumbprint }

// GoString implements fmt.GoStringer.
func (k *key) GoString() string { return k.String() }

// makeKey makes a new key pair, from the operating system's randomness always: a
// key is no place for a parameter.
func makeKey() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return describeKey(private)
}

func describeKey(private *ecdsa.PrivateKey) (*key, error) {
	public, err := jwk.FromRaw(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	text, err := json.Marshal(public)
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	return &key{private: private, public: text, thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint)}, nil
}

// encode returns the private key as PKCS #8 in PEM, without a line break at its end.
func (k *key) encode() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return "", fmt.Errorf("encode key: %w", err)
	}
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))), nil
}

// decodeKey reads what encode wrote. Its errors say nothing of the content.
func decodeKey(data []byte) (*key, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, errors.New("not one PEM block of a private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS #8 private key")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("not an EC P-256 key")
	}
	return describeKey(private)
}
