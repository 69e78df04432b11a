package jose

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// Bounds of a compact JWS, in bytes.
const (
	MaxLength        = 8 << 10  // of one that a workload signs
	MaxIDTokenLength = 16 << 10 // of an ID token, for who obtains it and for who receives it
)

// Message is a parsed JWS whose header is acceptable. Nothing of it may be
// believed before Verify or VerifyBy.
type Message struct {
	header    Header
	claims    Claims
	input     []byte // what is signed: the first two parts (RFC 7515 section 5.2)
	signature []byte
}

// HeaderError says which member of a message's header is refused. The name is one
// that this package knows, never the message's own word.
type HeaderError struct{ Member string }

// Error implements error.
func (e *HeaderError) Error() string { return fmt.Sprintf("member %q is refused", e.Member) }

// Header is what we read and write of a protected header.
type Header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"` // "" where absent
	Type      string `json:"typ,omitempty"` // "" where absent
}

// forbiddenHeaders name a key or a rule of the sender's own choice, or say that the
// payload is not claims but another message.
var forbiddenHeaders = []string{"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "enc", "cty"}

// Parse is ParseUpTo for MaxLength.
func Parse(compact string) (*Message, error) { return ParseUpTo(MaxLength, compact) }

// ParseUpTo splits a compact JWS of at most that many bytes and checks the shape of
// its header and claims, more strictly than a library for everybody can: of two
// members of one name, say, another reader might believe the other. No other
// serialization is read, and each part is decoded in one way only.
func ParseUpTo(limit int, compact string) (*Message, error) {
	if len(compact) > limit {
		return nil, fmt.Errorf("parse JWS: longer than %d bytes", limit)
	}
	if strings.Count(compact, ".") != 2 {
		return nil, errors.New("parse JWS: not three parts")
	}
	protected, payload, signature, err := jws.SplitCompactString(compact)
	if err != nil {
		return nil, errors.New("parse JWS: not three parts")
	}
	var raw [3][]byte
	for i, part := range [][]byte{protected, payload, signature} {
		if raw[i], err = decode(string(part)); err != nil {
			return nil, errors.New("parse JWS: a part is not base64url")
		}
	}
	header, err := parseHeader(raw[0])
	if err != nil {
		return nil, fmt.Errorf("parse JWS header: %w", err)
	}
	claims, err := strictjson.Object(raw[1])
	if err != nil {
		return nil, fmt.Errorf("parse JWS claims: %w", err)
	}
	return &Message{
		header: header, claims: Claims{members: claims, text: raw[1]},
		input: []byte(compact[:len(protected)+1+len(payload)]), signature: raw[2],
	}, nil
}

func parseHeader(data []byte) (Header, error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return Header{}, err
	}
	for _, name := range forbiddenHeaders {
		if _, present := members[name]; present {
			return Header{}, &HeaderError{Member: name}
		}
	}
	var h Header
	var nonce string // of RFC 8555, which other readers know; not used here
	for name, target := range map[string]*string{"alg": &h.Algorithm, "kid": &h.KeyID, "typ": &h.Type, "nonce": &nonce} {
		if value, present := members[name]; present {
			if err := parseString(value, target); err != nil {
				return Header{}, fmt.Errorf("member %q is not a string", name)
			}
		}
	}
	return h, nil
}

// Type returns the header's typ, or "". It is signed, but not verified yet.
func (m *Message) Type() string { return m.header.Type }

// IsJWT reports whether typ is JWT (RFC 7519 section 5.1) or absent. It is compared as
// the media type that it is: in any case, and with "application/" or without (RFC 7515
// section 4.1.9).
func (m *Message) IsJWT() bool {
	typ := m.header.Type
	return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "application/jwt")
}

// Unverified returns a string claim before its signature was checked: only good
// for finding the key to check it with.
func (m *Message) Unverified(name string) (string, error) { return m.claims.String(name) }

// KeyID returns the header's kid, or "". It is signed, but not verified yet.
func (m *Message) KeyID() string { return m.header.KeyID }

// Verify checks the signature with key, under key's algorithm, and returns the
// claims. A header that names another algorithm or another key is refused.
func (m *Message) Verify(key PublicKey) (Claims, error) {
	if m.header.KeyID != "" && m.header.KeyID != key.Thumbprint() {
		return Claims{}, errors.New("verify JWS: the header names another key")
	}
	return m.verify(key)
}

// VerifyBy checks the signature with the key of the set that the header names, under
// that key's algorithm, and returns the claims.
func (m *Message) VerifyBy(keys KeySet) (Claims, error) {
	key, found := keys.Key(m.header.KeyID)
	if !found {
		return Claims{}, errors.New("verify JWS: the header names no key of the set")
	}
	return m.verify(key)
}

func (m *Message) verify(key PublicKey) (Claims, error) {
	if m.header.Algorithm != key.Algorithm() {
		return Claims{}, errors.New("verify JWS: the header names another algorithm than the key's")
	}
	// The library's verifier alone: what we have read is not read once more, by a
	// reader that might read it otherwise.
	verifier, err := jws.NewVerifier(key.algorithm)
	if err != nil {
		return Claims{}, fmt.Errorf("verify JWS: %w", err)
	}
	if err := verifier.Verify(m.input, m.signature, key.key); err != nil {
		return Claims{}, errors.New("verify JWS: the signature does not fit the key")
	}
	return m.claims, nil
}
