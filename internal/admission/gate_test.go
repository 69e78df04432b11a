package admission

import (
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// pipe is a connection that remembers whether it was closed.
type pipe struct {
	net.Conn
	closed bool
}

func (p *pipe) Close() error { p.closed = true; return nil }

// admits has n connections of a party come in, and returns those let in.
func admits(g *Gate, party workload.Party, n int) (in []*pipe) {
	for range n {
		c := &pipe{}
		if g.Admit(c, party) {
			in = append(in, c)
		} else if !c.closed {
			panic("a connection was neither admitted nor closed")
		}
	}
	return in
}

func open(conns []*pipe) int {
	n := 0
	for _, c := range conns {
		if !c.closed {
			n++
		}
	}
	return n
}

func busy(g *Gate, conns []*pipe) {
	for _, c := range conns {
		g.StateChanged(c, http.StateActive)
	}
}

func user(uid uint32) workload.Party { return workload.UserParty(uid) }

// TestOnePartyHasItsShare: with 30 places 20 are for strangers, one of whom gets a third.
// What is idle gives way to what its own party does next, what is busy does not.
func TestOnePartyHasItsShare(t *testing.T) {
	g := NewGate(30)
	first := admits(g, user(1), 7)
	if open(first) != 7 {
		t.Fatalf("%d of 7 let in", open(first))
	}
	busy(g, first[:4])
	more := admits(g, user(1), 100)
	if len(more) != 100 || open(first) != 4 || open(more) != 3 {
		t.Errorf("%d let in; of the first %d are open, of the others %d", len(more), open(first), open(more))
	}
	busy(g, more[97:])
	if last := admits(g, user(1), 5); len(last) != 0 {
		t.Errorf("%d let in while all of the party are busy", len(last))
	}
	if c := g.Counts(); c != (Counts{Open: 7, Refused: 5, Evicted: 100}) {
		t.Errorf("counts: %+v", c)
	}
}

// TestNewcomerFindsAPlace whatever others did before, and takes it from who has most.
func TestNewcomerFindsAPlace(t *testing.T) {
	g := NewGate(30)
	var all []*pipe
	for uid := uint32(1); g.strangers.Free() > 0; uid++ {
		in := admits(g, user(uid), 10)
		busy(g, in)
		all = append(all, in...)
	}
	before := open(all)
	oldest := slices.IndexFunc(all, func(c *pipe) bool { return !c.closed })
	if in := admits(g, user(100), 1); len(in) != 1 || in[0].closed || open(all) != before-1 {
		t.Errorf("a newcomer: %d let in, %d closed for it", len(in), before-open(all))
	}
	if !all[oldest].closed {
		t.Error("the place was not taken from the party that has most, its oldest connection first")
	}
}

// TestUsersOfOnePlaceCloseNobodyElses: whoever takes on many users, and makes network
// namespaces, has the share of the container or user's slice that they are all in, and a
// newcomer among them takes the place of one of them.
func TestUsersOfOnePlaceCloseNobodyElses(t *testing.T) {
	g := NewGate(90) // 60 for strangers
	others := slices.Concat(admits(g, workload.ProcessParty(1, 0, 1), 5), admits(g, user(1), 5))
	var crowd []*pipe
	for uid := range uint32(2000) {
		in := admits(g, workload.ProcessParty(2, uid, uint64(uid%7)), 3)
		busy(g, in)
		crowd = append(crowd, in...)
	}
	if open(others) != 10 {
		t.Errorf("%d of 10 connections of others are open", open(others))
	}
	if n := open(crowd); n != 25 {
		t.Errorf("users of one place hold %d connections, want half of the 50 that were free", n)
	}
	if last := admits(g, workload.ProcessParty(2, 5000, 0), 1); len(last) != 1 || open(crowd) != 24 {
		t.Errorf("a newcomer of a place that has its share: %d let in, %d others are left of the place", len(last), open(crowd))
	}
	if in := admits(g, user(7), 5); len(in) != 5 {
		t.Errorf("%d of 5 of somebody else let in", len(in))
	}
}

// TestAPlaceThatHasItsShareTakesFromItself, and not from another that has more; who comes
// when all are taken takes from the place that has the most, and not from the user that
// has more connections than each of that.
func TestAPlaceThatHasItsShareTakesFromItself(t *testing.T) {
	g := NewGate(90) // 60 for strangers
	crowd := func(place uint64) (in []*pipe) {
		for uid := range uint32(500) {
			in = append(in, admits(g, workload.ProcessParty(place, uid, 0), 1)...)
		}
		return in
	}
	user1 := admits(g, user(1), 2)
	first := crowd(1)
	second := crowd(2)
	if open(first) != 29 || open(second) != 15 || open(user1) != 2 {
		t.Fatalf("two places of many users hold %d and %d connections, and one user %d; want 29 and 15 of 58, and 2", open(first), open(second), open(user1))
	}
	for uid := uint32(2); g.strangers.Free() > 0; uid++ {
		admits(g, user(uid), 1)
	}
	if in := admits(g, user(100), 1); len(in) != 1 || open(first) != 28 || open(user1) != 2 {
		t.Errorf("of the largest place %d connections are left, want 28, and of a user with two %d", open(first), open(user1))
	}
}

// TestManyPartiesOfOne: where every party has one connection, the idle ones go first,
// then the older ones.
func TestManyPartiesOfOne(t *testing.T) {
	g := NewGate(6) // 4 for strangers
	var all []*pipe
	for uid := range uint32(4) {
		all = append(all, admits(g, user(uid), 1)...)
	}
	busy(g, []*pipe{all[0], all[2]})
	for i, want := range [][]*pipe{{all[1]}, {all[1], all[3]}} {
		newcomer := admits(g, user(uint32(10+i)), 1)
		busy(g, newcomer)
		for _, c := range all {
			if c.closed != slices.Contains(want, c) {
				t.Errorf("newcomer %d: connection %d closed: %v", i, slices.Index(all, c), c.closed)
			}
		}
	}
	if admits(g, user(20), 1); !all[0].closed || all[2].closed {
		t.Error("of busy ones the oldest is closed")
	}
}

// TestRecognisedCallersAreOutOfReach: no flood closes what was recognised, and their
// part is free for those who come during a flood.
func TestRecognisedCallersAreOutOfReach(t *testing.T) {
	g := NewGate(30) // 10 for callers that were recognised
	var ours []*pipe
	for range 3 {
		in := admits(g, user(1), 1)
		g.Recognise(in[0], "billing")
		ours = append(ours, in...)
		for uid := range uint32(300) {
			busy(g, admits(g, user(uid), 20))
		}
	}
	if open(ours) != 3 {
		t.Errorf("%d of 3 recognised connections are open", open(ours))
	}
	if g.Counts().Open > 30 {
		t.Errorf("%d connections are held", g.Counts().Open)
	}
	if free := g.recognised.Free(); free != 7 {
		t.Errorf("%d places are free for the recognised, want 7", free)
	}
}

// TestOneIdentityDoesNotUseUpAnother: half of the recognised's part is the most that
// one has there; what it has beyond counts as before.
func TestOneIdentityDoesNotUseUpAnother(t *testing.T) {
	g := NewGate(30)
	for uid := range uint32(20) {
		for _, c := range admits(g, user(uid), 1) {
			g.Recognise(c, "greedy")
		}
	}
	if held := g.recognised.Held("greedy"); held != 5 {
		t.Errorf("one identity holds %d places of the recognised, want 5", held)
	}
	c := admits(g, user(100), 1)[0]
	g.Recognise(c, "other")
	if g.recognised.Held("other") != 1 {
		t.Error("another identity finds no room")
	}
}

// TestPlacesComeBack: whatever becomes of connections, none is lost or counted twice.
func TestPlacesComeBack(t *testing.T) {
	g := NewGate(12)
	for round := range 50 {
		in := admits(g, user(uint32(round%3)), 3)
		g.Recognise(in[0], "one")
		g.Recognise(in[0], "two") // once is enough
		g.Recognise(&pipe{}, "one")
		busy(g, in[:1])
		g.StateChanged(in[1], http.StateHijacked)
		for range 2 {
			for _, c := range in {
				g.StateChanged(c, http.StateClosed)
			}
		}
		if g.strangers.Free() != 8 || g.recognised.Free() != 4 || g.Counts().Open != 0 {
			t.Fatalf("round %d: %d and %d free, %d open", round, g.strangers.Free(), g.recognised.Free(), g.Counts().Open)
		}
	}
}

func TestTheSmallestGateServesSomebody(t *testing.T) {
	for places := range 4 {
		g := NewGate(places)
		if in := admits(g, user(1), 1); len(in) != 1 {
			t.Errorf("a gate of %d places lets nobody in", places)
		}
	}
}
