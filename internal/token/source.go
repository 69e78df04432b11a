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
// ErrUnreachable, ErrNotEnrolled or a *RefusedError where one of them fits; a
// *BusyError has the source left alone for longer.
type Source interface {
	Fetch(ctx context.Context, r Request) (Token, error)
}

// same reports whether two sources are one: what one of them handed out is what
// the other would. Sources that cannot be compared never are.
func same(a, b Source) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
