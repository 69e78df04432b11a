package localapi

import (
	"context"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/fairshare"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// How wrong keys are paced. A party has a few at once, and after that one look at a
// key in a while, which it waits for. Many parties together make everybody wait, but
// not so long that a caller with the right key would notice more than a delay.
const (
	guessBurst    = 10
	guessPace     = 100 * time.Millisecond
	guessLongest  = 5 * time.Second // that a party waits for what it did itself
	crowdBurst    = 50
	crowdPace     = 20 * time.Millisecond
	crowdLongest  = 250 * time.Millisecond // that a party waits for what others did
	guessMemories = 1024                   // parties that are remembered; the others of a place are one
)

// guesses paces the looks at keys by how many were wrong. A right one is never
// refused, and costs nobody anything: it is only looked at later where the same party
// has been wrong, or very many have. It is safe for concurrent use.
//
// What is kept is when the last wrong key would have come at the allowed pace (the
// generic cell rate algorithm, ITU-T I.371).
type guesses struct {
	mu      sync.Mutex // guards what follows
	crowd   time.Time
	parties map[workload.Party]time.Time
	room    *fairshare.Nested[workload.Place, workload.Party] // has a place for each of parties, but those of whole places
	looked  time.Time                                         // when parties that may be forgotten were looked for
}

func newGuesses() *guesses {
	return &guesses{
		parties: map[workload.Party]time.Time{},
		room:    fairshare.NewNested[workload.Place, workload.Party](guessMemories),
	}
}

// wait returns when a key of the party may be looked at, or with the error of ctx.
func (g *guesses) wait(ctx context.Context, party workload.Party) error {
	delay := g.delay(party, time.Now())
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *guesses) delay(party workload.Party, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.parties[party]; !ok && g.room.HeldIn(party.Place()) >= g.room.Free() {
		party = g.rest(party)
	}
	own := ahead(g.parties[party], now) - guessBurst*guessPace
	crowd := ahead(g.crowd, now) - crowdBurst*crowdPace
	return max(own, crowd)
}

// ahead returns how far a time is ahead of now. The difference to the zero time, which
// is never, does not fit into a duration.
func ahead(at, now time.Time) time.Duration {
	if !at.After(now) {
		return 0
	}
	return at.Sub(now)
}

// wrong notes a wrong key of the party.
func (g *guesses) wrong(party workload.Party, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.crowd = later(g.crowd, now, crowdPace, crowdBurst*crowdPace+crowdLongest)
	if _, ok := g.parties[party]; !ok && !g.room.Take(party) {
		g.forget(now)
		if !g.room.Take(party) {
			party = g.rest(party)
		}
	}
	g.parties[party] = later(g.parties[party], now, guessPace, guessBurst*guessPace+guessLongest)
}

// rest returns whose memory counts for a party that finds no room: its place's for those
// of a place that has its share, and where there are too many places, that of nobody
// known.
func (g *guesses) rest(party workload.Party) workload.Party {
	if g.room.HeldIn(party.Place()) == 0 {
		return workload.Party{}
	}
	return party.Place().Whole()
}

// forget drops what makes nobody wait any more. It looks once a second at most.
func (g *guesses) forget(now time.Time) {
	if now.Sub(g.looked) < time.Second {
		return
	}
	g.looked = now
	for party, at := range g.parties {
		if !at.After(now) {
			delete(g.parties, party)
			if g.room.Held(party) > 0 {
				g.room.Give(party)
			}
		}
	}
}

// later moves a time on by the pace, within bounds.
func later(at, now time.Time, pace, most time.Duration) time.Time {
	if at.Before(now) {
		at = now
	}
	at = at.Add(pace)
	if last := now.Add(most); at.After(last) {
		return last
	}
	return at
}
