package token

import "errors"

// Reason is why there is no token, in one word of a small fixed set: for metrics,
// and to tell causes apart. docs/troubleshooting.md has a section for each.
type Reason string

// The reasons.
const (
	ReasonUnreachable Reason = "unreachable"  // the authority did not answer, or not usably
	ReasonBusy        Reason = "busy"         // it wants not to be asked for a while
	ReasonNotEnrolled Reason = "not_enrolled" // no ticket, or the authority does not accept ticket or key
	ReasonRefused     Reason = "refused"      // the authority knows the identity, and refuses by policy
	ReasonWrongToken  Reason = "wrong_token"  // another token came than was asked for
	ReasonClock       Reason = "clock"        // this host's clock and the authority's are too far apart
	ReasonNoSource    Reason = "no_source"    // the identity has no token source
	ReasonOther       Reason = "other"        // something of this host: its state folder, say; the error tells
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{ReasonUnreachable, ReasonBusy, ReasonNotEnrolled, ReasonRefused, ReasonWrongToken, ReasonClock, ReasonNoSource, ReasonOther}
}

// ReasonOf returns the reason of an error of Cache.Get or of a Source, "" for nil.
func ReasonOf(err error) Reason {
	var busy *BusyError
	var refused *RefusedError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrClock): // first: it is why others occur
		return ReasonClock
	case errors.As(err, &busy):
		return ReasonBusy
	case errors.Is(err, ErrNotEnrolled):
		return ReasonNotEnrolled
	case errors.As(err, &refused):
		return ReasonRefused
	case errors.Is(err, ErrWrongToken):
		return ReasonWrongToken
	case errors.Is(err, ErrUnreachable):
		return ReasonUnreachable
	case errors.Is(err, ErrNoSource):
		return ReasonNoSource
	}
	return ReasonOther
}
