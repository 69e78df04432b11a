package standing

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// retryAfter is how long a token that could not be had, and that nobody asks for, is
// left alone before it is tried again: so what was mended is found out, and a host with
// a broken ticket asks the authority twice a minute.
const retryAfter = 30 * time.Second

// sayAgain is how soon another reason of the same failure is logged.
const sayAgain = 10 * time.Second

// Config is what a Board is made of.
type Config struct {
	// Held says when the token that is held for a request expires, if there is one.
	Held func(token.Request) (expires time.Time, ok bool)
	Now  func() time.Time // time.Now if nil
	Log  *slog.Logger     // discarded if nil
}

// Board holds how things stand with the tokens of the configured identities. Its size
// is that of the configuration. It is safe for concurrent use.
type Board struct {
	held func(token.Request) (time.Time, bool)
	now  func() time.Time
	log  *slog.Logger

	mu         sync.Mutex // guards what follows; not held while logging
	identities map[string]*identity
}

// identity is what is known of one.
type identity struct {
	lastSuccess time.Time
	pairs       map[string]*pair // by audience
}

// pair is what is known of an identity's token for one audience.
type pair struct {
	wanted   bool // a destination asks for it; the others are the local API's
	tried    time.Time
	err      error // of the last attempt, nil after a success
	reason   token.Reason
	since    time.Time // when the first attempt in a row failed
	failures int
	said     token.Reason // what the log last said, "" for nothing
	saidAt   time.Time
}

// New returns a board of no identity; Configure gives it some.
func New(c Config) *Board {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Board{held: c.Held, now: c.Now, log: c.Log, identities: map[string]*identity{}}
}

// Configure says which identities there are, and for which audiences destinations ask
// for a token of each. What is known of those that stay is kept; those of which
// anew reports true have another source now, and are due at once.
func (b *Board) Configure(audiences map[string][]string, anew func(identity string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := make(map[string]*identity, len(audiences))
	for name, wanted := range audiences {
		old := b.identities[name]
		one := &identity{pairs: map[string]*pair{}}
		if old != nil {
			one.lastSuccess = old.lastSuccess
		}
		for _, audience := range append([]string{""}, wanted...) {
			one.pairs[audience] = new(pair)
			if old != nil && old.pairs[audience] != nil {
				one.pairs[audience] = old.pairs[audience]
			}
			one.pairs[audience].wanted = slices.Contains(wanted, audience)
			if anew(name) {
				one.pairs[audience].tried = time.Time{}
			}
		}
		next[name] = one
	}
	b.identities = next
}

// Obtained notes an attempt to obtain a token; it implements token.Observer. What is
// not configured is not noted.
func (b *Board) Obtained(o token.Obtaining) {
	say := b.note(o)
	if say != nil {
		say()
	}
}

// note returns what is to be logged, or nil.
func (b *Board) note(o token.Obtaining) (say func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.identities[o.Request.Identity]
	if one == nil {
		return nil
	}
	if o.Err == nil {
		one.lastSuccess = o.End
	}
	p := one.pairs[o.Request.Audience]
	if p == nil {
		return nil
	}
	p.tried = o.End
	if o.Err == nil {
		return b.noteSuccess(p, o)
	}
	return b.noteFailure(p, o)
}

func (b *Board) noteSuccess(p *pair, o token.Obtaining) (say func()) {
	failures, since, said := p.failures, p.since, p.said
	*p = pair{wanted: p.wanted, tried: p.tried}
	if said == "" {
		return nil
	}
	return func() {
		b.log.Info("an identity has a token again", "identity", o.Request.Identity, "audience", o.Request.Audience,
			"failures", failures, "failed_for", o.End.Sub(since).Round(time.Millisecond))
	}
}

func (b *Board) noteFailure(p *pair, o token.Obtaining) (say func()) {
	if p.failures == 0 {
		p.since = o.End
	}
	p.failures++
	p.err, p.reason = o.Err, token.ReasonOf(o.Err)
	if o.Renewal || p.said == p.reason || p.said != "" && o.End.Sub(p.saidAt) < sayAgain {
		return nil
	}
	p.said, p.saidAt = p.reason, o.End
	failures := p.failures
	return func() {
		b.log.Warn("an identity has no token", "identity", o.Request.Identity, "audience", o.Request.Audience,
			"reason", string(token.ReasonOf(o.Err)), "error", o.Err, "failures", failures, "tried_every", retryAfter)
	}
}

// Due lists what should be asked for although nobody does: the first token of each
// identity, and those that could not be had.
func (b *Board) Due() []token.Request {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []token.Request
	for _, name := range slices.Sorted(maps.Keys(b.identities)) {
		first := true
		for _, audience := range b.identities[name].wanted() {
			p, r := b.identities[name].pairs[audience], token.Request{Identity: name, Audience: audience}
			if first && p.tried.IsZero() || p.err != nil && now.Sub(p.tried) >= retryAfter && !b.holds(r) {
				due = append(due, r)
			}
			first = false
		}
	}
	return due
}

func (b *Board) holds(r token.Request) bool {
	_, ok := b.held(r)
	return ok
}

// wanted lists the audiences that destinations ask for, sorted.
func (i *identity) wanted() []string {
	var all []string
	for _, audience := range slices.Sorted(maps.Keys(i.pairs)) {
		if i.pairs[audience].wanted {
			all = append(all, audience)
		}
	}
	return all
}
