package token

import (
	"errors"
	"fmt"
	"time"
)

// The reasons why there is no token, for errors.Is. A Source wraps one of them
// where it fits; the text around it says what the operator should look at.
var (
	// ErrUnreachable says that the issuer did not answer, or not usably.
	ErrUnreachable = errors.New("authority unreachable")
	// ErrNotEnrolled says that this identity has no standing with the issuer:
	// there was no ticket yet, or the issuer did not accept it.
	ErrNotEnrolled = errors.New("not enrolled")
	// ErrWrongToken says that the issuer answered with another token than was asked
	// for. It is not kept.
	ErrWrongToken = errors.New("not the token that was asked for")
	// ErrClock says that this host's clock and the issuer's are too far apart.
	ErrClock = errors.New("clocks are too far apart")
	// ErrNoSource says that no source is configured for the identity.
	ErrNoSource = errors.New("identity has no token source")
	// ErrClosed says that the cache was closed.
	ErrClosed = errors.New("token cache is closed")
)

// BusyError says that the issuer is there and wants not to be asked for a while.
type BusyError struct {
	Until time.Time // by this host's clock
	Err   error     // the issuer's answer; wraps ErrUnreachable
}

// Error repeats the answer.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%v; it wants not to be asked before %s", e.Err, e.Until.UTC().Format(time.RFC3339))
}

// Unwrap returns the answer.
func (e *BusyError) Unwrap() error { return e.Err }

// RefusedError says that the issuer knows the identity and refuses it by policy.
type RefusedError struct {
	Message string // the issuer's own words; they name the control that refused
}

// Error repeats the issuer's message.
func (e *RefusedError) Error() string { return "refused by the authority: " + e.Message }
