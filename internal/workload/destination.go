package workload

import (
	"net/netip"
	"slices"
)

// ExistingAuthorization is what happens to an Authorization field that the
// program itself sent to a registered destination.
type ExistingAuthorization string

// The choices for a program's own Authorization field.
const (
	ReplaceAuthorization ExistingAuthorization = "replace" // all copies give way to ours; the default
	KeepAuthorization    ExistingAuthorization = "keep"    // the request is left untouched
	RefuseAuthorization  ExistingAuthorization = "refuse"  // 403
)

// OnFailure is what happens to a request whose identity or token is missing.
type OnFailure string

// The choices for a missing identity or token.
const (
	FailClosed OnFailure = "closed" // 503; the default
	FailOpen   OnFailure = "open"   // forwarded without a token
)

// Verification is what shows that an address is a destination's.
type Verification string

// The choices for verification.
const (
	VerifyByDNS       Verification = "dns"       // the default: configured addresses, and what DNS answers for a host that is written out
	VerifyByAddresses Verification = "addresses" // configured addresses only
)

// UnknownCallers is what happens, while no agent answers, to a caller that might
// have an identity and was never recognised, at an address of a destination that
// fails closed.
type UnknownCallers string

// The choices for unknown callers.
const (
	UnknownPass             UnknownCallers = "pass"              // the default: nobody is harmed who may have nothing to do with it
	UnknownRefusedElsewhere UnknownCallers = "refuse"            // refused outside the agent's network namespace
	UnknownRefused          UnknownCallers = "refuse_everywhere" // and inside it
)

// ConnectionsBefore is what happens to connections of identities that were made before
// the agent could see them, at a destination that fails closed.
type ConnectionsBefore string

// The choices for connections from before.
const (
	EndBefore   ConnectionsBefore = "end"   // the default: the program connects again
	CountBefore ConnectionsBefore = "count" // they go on without a token
)

// Destination is a registered destination and the rule for requests to it. It is
// made by the registry from a validated configuration; do not change one.
type Destination struct {
	Name      string
	Hosts     []string       // normalised: lower case, no trailing dot; "*.example.org" or an IP literal without brackets
	Ports     []uint16       // at least one
	Addresses []netip.Prefix // optional: narrow what is watched, and verify plaintext
	Verify    Verification
	Audience  string // exactly one, or empty for sources that need none
	// Identities lists the names of the identities that get a token here.
	Identities            []string
	Enforce               bool
	ExistingAuthorization ExistingAuthorization
	OnFailure             OnFailure
	Unknown               UnknownCallers // where OnFailure is closed
	Before                ConnectionsBefore
	Methods               []string // upper case; empty means any
	Paths                 []string // prefixes ending in "/", or exact paths; empty means any
	// ServedBy says by user, cgroup or systemd unit who has to own the listening
	// socket, which then has to be on this host. The zero one asks for nobody.
	ServedBy Selector
}

// Lists reports whether the identity gets a token at this destination.
func (d *Destination) Lists(identity string) bool {
	return slices.Contains(d.Identities, identity)
}
