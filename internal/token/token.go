package token

import (
	"fmt"
	"log/slog"
	"time"
)

// redacted is what a Token prints as, whatever prints it.
const redacted = "redacted"

// Token is a bearer token with what its owner may say about it. The value leaves
// it only through Reveal, so that a token never reaches a log, a span, an error
// or a panic by accident. The zero Token is no token.
type Token struct {
	// value is behind a pointer because package fmt calls no method of what sits
	// in an unexported field: of a struct that holds a Token it prints the fields
	// as they are, and of a pointer among them the address.
	value   *string
	id      string
	issued  time.Time
	expires time.Time
}

// Reveal returns the token itself. Call it only where the token is put on the
// wire or handed to its owner.
func (t Token) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// ID returns the token's jti claim, or "" where it has none. It is no secret.
func (t Token) ID() string { return t.id }

// Issued returns when the token was issued, by this host's clock.
func (t Token) Issued() time.Time { return t.issued }

// Expires returns when the token expires, by this host's clock.
func (t Token) Expires() time.Time { return t.expires }

// IsZero reports whether this is no token at all.
func (t Token) IsZero() bool { return t.value == nil }

// String, GoString, Format, LogValue, MarshalJSON and MarshalText all say
// "redacted".
func (t Token) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb can print the fields.
func (t Token) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// New makes a token from its value and what is known of it. It refuses a value
// with control bytes, spaces or bytes above ASCII: such a value could end the
// header line it is put into.
func New(value, id string, issued, expires time.Time) (Token, error) {
	if value == "" {
		return Token{}, fmt.Errorf("make token: empty value")
	}
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' {
			return Token{}, fmt.Errorf("make token: byte %d of the value is 0x%02x, which cannot stand in a header", i, c)
		}
	}
	if !expires.After(issued) {
		return Token{}, fmt.Errorf("make token: expires %s, not after %s when it was issued",
			expires.Format(time.RFC3339), issued.Format(time.RFC3339))
	}
	return Token{value: &value, id: id, issued: issued, expires: expires}, nil
}
