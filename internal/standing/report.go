package standing

import (
	"maps"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// Identity is how things stand with one identity's tokens.
type Identity struct {
	Name        string
	Tokens      int       // held now, and valid
	Expires     time.Time // when the first of them does; zero without any
	LastSuccess time.Time // when a token was obtained last; zero for never
	Failing     []Failure // by audience
}

// Failure is a token whose last attempt failed.
type Failure struct {
	Audience string
	Reason   token.Reason
	Err      error
	Since    time.Time // of the first failure in a row
	Failures int       // in a row
	Until    time.Time // when the token that is still held expires; zero where there is none
}

// Report lists all configured identities by name.
func (b *Board) Report() []Identity {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Identity, 0, len(b.identities))
	for _, name := range slices.Sorted(maps.Keys(b.identities)) {
		all = append(all, b.reportOne(name))
	}
	return all
}

func (b *Board) reportOne(name string) Identity {
	one := b.identities[name]
	report := Identity{Name: name, LastSuccess: one.lastSuccess}
	for _, audience := range slices.Sorted(maps.Keys(one.pairs)) {
		p := one.pairs[audience]
		expires, holds := b.held(token.Request{Identity: name, Audience: audience})
		if holds {
			report.Tokens++
			if report.Expires.IsZero() || expires.Before(report.Expires) {
				report.Expires = expires
			}
		}
		// Of what no destination asks for, a failure is its caller's to see.
		if p.err != nil && p.wanted {
			failure := Failure{Audience: audience, Reason: p.reason, Err: p.err, Since: p.since, Failures: p.failures}
			if holds {
				failure.Until = expires
			}
			report.Failing = append(report.Failing, failure)
		}
	}
	return report
}

// Without reports whether the identity cannot get a token for any destination: some
// attempt has failed, and none is held.
func (i Identity) Without() bool { return len(i.Failing) > 0 && i.Tokens == 0 }

// State is how things stand with one token.
type State struct {
	Held    bool
	Expires time.Time // if held
	Tried   bool      // somebody has asked for it
	Failure *Failure  // of the last attempt, or nil
}

// Token says how things stand with the token for one request.
func (b *Board) Token(r token.Request) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s State
	s.Expires, s.Held = b.held(r)
	s.Tried = s.Held
	one := b.identities[r.Identity]
	if one == nil || one.pairs[r.Audience] == nil {
		return s
	}
	p := one.pairs[r.Audience]
	s.Tried = s.Tried || !p.tried.IsZero()
	if p.err != nil {
		s.Failure = &Failure{Audience: r.Audience, Reason: p.reason, Err: p.err, Since: p.since, Failures: p.failures}
	}
	return s
}
