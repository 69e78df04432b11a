package token

import "context"

// Request names one token. It is comparable and is the cache's key: two requests
// that differ in any field never share a token.
type Request struct {
	Identity string // registered identity
	Subject  string // attested subject a token is bound to (pod UID, container), or "" where tokens are not bound
	Audience string // the one audience, or ""
}

// Source obtains tokens for one or more identities. Implementations are safe for
// concurrent use and honour ctx; every call talks to the issuer.
type Source interface {
	Fetch(ctx context.Context, r Request) (Token, error)
}
