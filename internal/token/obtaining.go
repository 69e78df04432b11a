package token

import "time"

// Obtaining is one attempt to obtain a token from its source: what a span says of
// it. It holds no token.
type Obtaining struct {
	Start, End time.Time
	Request    Request
	TokenID    string    // jti, or "" where there is none
	Expires    time.Time // by this host's clock; zero on failure
	Err        error     // nil on success
	Renewal    bool      // there was a token before, valid or not: the cache logs what comes of it
}

// Observer learns of every attempt to obtain a token. Obtained is called from
// several goroutines at once and should return soon: the next attempt for the
// same key waits for it, and so do callers who have no token yet.
type Observer interface {
	Obtained(o Obtaining)
}

// unobserved is the Observer of a cache that was given none.
type unobserved struct{}

func (unobserved) Obtained(Obtaining) {}
