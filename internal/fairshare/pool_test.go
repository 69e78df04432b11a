package fairshare

import (
	"math/rand/v2"
	"testing"
)

// model is a pool beside what must be true of it, whatever is done.
type model struct {
	t      *testing.T
	places int
	pool   *Pool[int]
	held   map[int]int
}

func newModel(t *testing.T, places int) *model {
	return &model{t: t, places: places, pool: NewPool[int](places), held: map[int]int{}}
}

func (m *model) take(party int) bool {
	m.t.Helper()
	free := m.pool.Free()
	taken := m.pool.Take(party)
	if taken != (m.held[party] < free) {
		m.t.Fatalf("%d of %d free, party %d holds %d: Take is %v", free, m.places, party, m.held[party], taken)
	}
	if m.held[party] == 0 && free > 0 && !taken {
		m.t.Fatalf("%d of %d free: a newcomer finds no room", free, m.places)
	}
	if taken {
		m.held[party]++
	}
	m.check()
	return taken
}

func (m *model) give(party int) {
	m.pool.Give(party)
	m.held[party]--
	m.check()
}

func (m *model) check() {
	m.t.Helper()
	sum := 0
	for party, held := range m.held {
		sum += held
		if m.pool.Held(party) != held {
			m.t.Fatalf("party %d holds %d, the pool says %d", party, held, m.pool.Held(party))
		}
	}
	if sum+m.pool.Free() != m.places || m.pool.Free() < 0 {
		m.t.Fatalf("%d held and %d free of %d", sum, m.pool.Free(), m.places)
	}
}

// TestWhateverPartiesDo: the pool's promises hold after any sequence of steps.
func TestWhateverPartiesDo(t *testing.T) {
	for round := range uint64(100) {
		random := rand.New(rand.NewPCG(round, 0))
		m := newModel(t, random.IntN(300))
		parties := 1 + random.IntN(40)
		for range 2000 {
			party := random.IntN(parties)
			if random.IntN(3) > 0 {
				m.take(party)
			} else if m.held[party] > 0 {
				m.give(party)
			}
		}
	}
}

// TestGreedyPartiesLeaveAPart: k parties that take whatever they get, in turns, have
// equal shares, and leave as much again.
func TestGreedyPartiesLeaveAPart(t *testing.T) {
	for places := 1; places <= 70; places++ {
		for parties := 1; parties <= 20; parties++ {
			m := newModel(t, places)
			for taken := true; taken; {
				taken = false
				for party := range parties {
					taken = m.take(party) || taken
				}
			}
			share := places / (parties + 1)
			for party := range parties {
				if held := m.held[party]; held < share || held > share+1 {
					t.Fatalf("%d places, %d parties: one holds %d, want about %d", places, parties, held, share)
				}
			}
			if m.pool.Free() < share {
				t.Fatalf("%d places, %d parties: %d are free, want %d", places, parties, m.pool.Free(), share)
			}
		}
	}
}

func TestGivingWhatIsNotHeldIsADefect(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewPool[int](1).Give(0)
}

// TestPartiesAreForgotten: the pool's memory is that of those who hold something.
func TestPartiesAreForgotten(t *testing.T) {
	p := NewPool[int](4)
	for party := range 1000 {
		p.Take(party)
		p.Give(party)
	}
	if len(p.held) != 0 {
		t.Errorf("%d parties are remembered", len(p.held))
	}
}
