package fairshare

import (
	"math/rand/v2"
	"testing"
)

// seat is a party, whose number says its place.
type seat int

func (s seat) Place() int { return int(s) / 100 }

func nested(places int) *Nested[int, seat] { return NewNested[int, seat](places) }

// TestWhoeverMakesPartiesHasOneShare: the parties of one place, however many, leave as
// much to others as they hold, and the first of them leaves something to the next.
func TestWhoeverMakesPartiesHasOneShare(t *testing.T) {
	for places := 1; places <= 200; places++ {
		n := nested(places)
		for party := range seat(100) {
			for n.Take(party) {
			}
		}
		if crowd := n.HeldIn(0); crowd < places/2-1 || crowd > (places+1)/2 {
			t.Fatalf("of %d, one place holds %d", places, crowd)
		}
		if first, second := n.Held(0), n.Held(1); first < places/3 || first > places/3+1 || second == 0 && places > 10 {
			t.Fatalf("of %d, the first party holds %d, the second %d", places, first, second)
		}
		if free := n.Free(); free > 0 && !n.Take(100) {
			t.Fatalf("of %d, %d are free, and another place's party finds none", places, free)
		}
	}
}

// TestNestedWhateverPartiesDo: what is held adds up, whatever is done.
func TestNestedWhateverPartiesDo(t *testing.T) {
	for round := range uint64(100) {
		random := rand.New(rand.NewPCG(round, 1))
		places := random.IntN(100)
		n, held, sum := nested(places), map[seat]int{}, 0
		for range 2000 {
			party := seat(random.IntN(500))
			if random.IntN(3) > 0 {
				room := places-sum > n.HeldIn(party.Place())
				taken := n.Take(party)
				if taken && !room || !taken && room && held[party] == 0 {
					t.Fatalf("party %d, of whose place %d of %d free are held: Take is %v", party, n.HeldIn(party.Place()), places-sum, taken)
				}
				if taken {
					held[party]++
					sum++
				}
			} else if held[party] > 0 {
				n.Give(party)
				held[party]--
				sum--
			}
			if n.Held(party) != held[party] || n.Free() != places-sum || n.Free() < 0 {
				t.Fatalf("party %d holds %d, want %d; %d of %d are free, want %d", party, n.Held(party), held[party], n.Free(), places, places-sum)
			}
		}
		for party, left := range held {
			for range left {
				n.Give(party)
			}
		}
		if len(n.held) != 0 || n.Free() != places {
			t.Fatalf("%d parties are remembered, %d of %d are free", len(n.held), n.Free(), places)
		}
	}
}

// TestWhatIsPassedOn counts for its new holder, however full the pool is.
func TestWhatIsPassedOn(t *testing.T) {
	n := nested(8)
	for n.Take(1) {
	}
	for n.Take(100) || n.Take(200) {
	}
	before := n.Held(1)
	n.Pass(1, 2)
	if n.Held(1) != before-1 || n.Held(2) != 1 || n.HeldIn(0) != before {
		t.Errorf("of %d, %d and %d are held, %d in all", before, n.Held(1), n.Held(2), n.HeldIn(0))
	}
}

func TestNestedDefectsPanic(t *testing.T) {
	for name, misuse := range map[string]func(*Nested[int, seat]){
		"give what is not held": func(n *Nested[int, seat]) { n.Give(2) },
		"pass what is not held": func(n *Nested[int, seat]) { n.Pass(2, 1) },
		"pass to another place": func(n *Nested[int, seat]) { n.Pass(1, 100) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			n := nested(4)
			n.Take(1)
			misuse(n)
		})
	}
}
