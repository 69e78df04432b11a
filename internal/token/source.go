package token

import (
	"context"
	"fmt"
	"reflect"
)

// Request names one token. It is comparable and is the cache's key: two requests
// that differ in any field never share a token.
type Request struct {
	Identity string // registered identity
	Subject  string // attested subject a token is bound to (pod UID, container), or "" where tokens are not bound
	Audience string // the one audience, or ""
}

// String names the request for logs and errors.
func (r Request) String() string {
	text := fmt.Sprintf("identity %q", r.Identity)
	if r.Subject != "" {
		text += fmt.Sprintf(", subject %q", r.Subject)
	}
	if r.Audience != "" {
		text += fmt.Sprintf(", audience %q", r.Audience)
	}
	return text
}

// Source obtains tokens for one or more identities. Implementations are safe for
// concurrent use and honour ctx; every call talks to the issuer. Errors wrap
// ErrUnreachable, ErrNotEnrolled, ErrWrongToken or a *RefusedError where one of
// them fits; a *BusyError has the source left alone for longer.
type Source interface {
	Fetch(ctx context.Context, r Request) (Token, error)
	// Form says what was checked of every token that Fetch returns. It never changes.
	Form() Form
}

// Form is what a source knows of its tokens. TestSources holds each to its word.
type Form int

const (
	// CheckedJWT is a JWT (RFC 7519) that was compared with what was asked for: one
	// aud as asked, or none, sub, iss, an asymmetric alg, exp, iat and nbf. Another
	// one is ErrWrongToken.
	CheckedJWT Form = iota + 1
	// Opaque is a token that only its issuer and its destination can read: whom it
	// is for is the issuer's word, and so is its end.
	Opaque
)

// String names the form.
func (f Form) String() string {
	switch f {
	case CheckedJWT:
		return "checked JWT"
	case Opaque:
		return "opaque"
	}
	return fmt.Sprintf("form %d", int(f))
}

// same reports whether two sources are one: what one of them handed out is what
// the other would. Sources that cannot be compared never are.
func same(a, b Source) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
