package logbudget

import "github.com/lanyardhq/lanyard/internal/workload"

// Source is who caused a log line. The zero Source is somebody unknown: all who
// are unknown share one budget. Sources are comparable.
type Source struct {
	identity string
	at       string
	party    workload.Party
}

// Identity is a registered identity. Its lines cannot be silenced by those of any
// process without one, however many users that has.
func Identity(name string) Source { return Source{identity: name} }

// At returns the source for lines about what happens at a destination of the
// configuration. An identity's lines about one are not silenced by those about
// another. A stranger stays who it is: it would choose among destinations.
func (s Source) At(destination string) Source {
	if s.reserved() {
		s.at = destination
	}
	return s
}

// Stranger is somebody without an identity, or one whose identity is not known.
func Stranger(p workload.Party) Source { return Source{party: p} }

// Place returns what the source is in: an identity's destinations are in the identity,
// and that is in nothing with others.
func (s Source) Place() Source {
	if s.reserved() {
		return Identity(s.identity)
	}
	return Source{party: s.party.Place().Whole()}
}

// reserved reports whether the source has a budget that strangers cannot reach.
func (s Source) reserved() bool { return s.identity != "" }
