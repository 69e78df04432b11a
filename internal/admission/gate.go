package admission

import (
	"net"
	"net/http"
	"sync"

	"github.com/lanyardhq/lanyard/internal/fairshare"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// recognisedPart is the part of a gate's places that strangers cannot reach.
const recognisedPart = 3

// Gate holds the connections of one server. Have the server's ConnContext call
// Admit, and its ConnState StateChanged. It is safe for concurrent use.
type Gate struct {
	mu         sync.Mutex // guards what follows
	strangers  *fairshare.Nested[workload.Place, workload.Party]
	recognised *fairshare.Pool[string]
	open       map[net.Conn]*place
	clock      uint64 // counts changes of state
	refused    uint64
	evicted    uint64
}

// place is one connection that is held.
type place struct {
	conn  net.Conn
	party workload.Party
	name  string // whose it was recognised to be, "" for a stranger's
	busy  bool   // a request was read and is being answered
	since uint64 // when it last became busy or idle, by the gate's clock
}

// NewGate returns a gate with so many places, of which a third, rounded down, is for
// callers that were recognised. At least one is for strangers: everybody begins as
// one.
func NewGate(places int) *Gate {
	places = max(places, 1)
	reserved := places / recognisedPart
	return &Gate{
		strangers:  fairshare.NewNested[workload.Place, workload.Party](places - reserved),
		recognised: fairshare.NewPool[string](reserved),
		open:       map[net.Conn]*place{},
	}
}

// Admit gives an accepted connection a place among the strangers, for which another
// stranger's may have to be closed, or else closes it and returns false. Each
// connection comes once.
func (g *Gate) Admit(c net.Conn, party workload.Party) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.strangers.Take(party) && !g.makeRoom(party) {
		g.refused++
		shut(c)
		return false
	}
	g.clock++
	g.open[c] = &place{conn: c, party: party, since: g.clock}
	return true
}

// makeRoom closes a stranger's connection and gives its place to the party, or
// returns false.
func (g *Gate) makeRoom(party workload.Party) bool {
	var victim *place
	for _, p := range g.open {
		if p.name == "" && g.givesWay(p, party) && (victim == nil || g.sooner(p, victim)) {
			victim = p
		}
	}
	if victim == nil {
		return false
	}
	g.evicted++
	delete(g.open, victim.conn)
	shut(victim.conn)
	if victim.party.Place() == party.Place() {
		g.strangers.Pass(victim.party, party)
		return true
	}
	g.strangers.Give(victim.party)
	return g.strangers.Take(party)
}

// givesWay reports whether a connection may be closed for a newcomer of a party. One that
// has its share gives up an idle connection of its own; another one, whose place has its
// share, has one of that place closed.
func (g *Gate) givesWay(p *place, party workload.Party) bool {
	switch {
	case g.strangers.Held(party) > 0:
		return p.party == party && !p.busy
	case g.strangers.HeldIn(party.Place()) > 0:
		return p.party.Place() == party.Place()
	}
	return true
}

// sooner reports whether p is to be closed rather than q: the one whose place, and then
// whose party, holds more, then the one that waits for its client, then the older one.
func (g *Gate) sooner(p, q *place) bool {
	if hp, hq := g.strangers.HeldIn(p.party.Place()), g.strangers.HeldIn(q.party.Place()); hp != hq {
		return hp > hq
	}
	if hp, hq := g.strangers.Held(p.party), g.strangers.Held(q.party); hp != hq {
		return hp > hq
	}
	if p.busy != q.busy {
		return q.busy
	}
	return p.since < q.since
}

// Recognise says that the caller of an open connection has shown to be name. As long
// as there is room for name among the recognised, the connection counts there, and
// will not be closed for somebody else; without, it stays as it is.
func (g *Gate) Recognise(c net.Conn, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.open[c]
	if p == nil || p.name != "" || !g.recognised.Take(name) {
		return
	}
	g.strangers.Give(p.party)
	p.name = name
}

// StateChanged follows a connection; it is an http.Server's ConnState.
func (g *Gate) StateChanged(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.open[c]
	if p == nil {
		return // it was refused, or closed for another
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		g.forget(p)
	case http.StateActive, http.StateIdle:
		g.clock++
		p.busy, p.since = state == http.StateActive, g.clock
	}
}

func (g *Gate) forget(p *place) {
	delete(g.open, p.conn)
	if p.name != "" {
		g.recognised.Give(p.name)
	} else {
		g.strangers.Give(p.party)
	}
}

// Counts is what a gate has to tell.
type Counts struct {
	Open    int    // connections held now
	Refused uint64 // connections closed at once, so far
	Evicted uint64 // connections closed for others, so far
}

// Counts returns how things stand.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{Open: len(g.open), Refused: g.refused, Evicted: g.evicted}
}

// shut closes a connection at once: nothing of it lingers in the kernel.
func shut(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	_ = c.Close()
}
