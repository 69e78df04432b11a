package fairshare

import "fmt"

// Pool is the arithmetic: who holds how many places of how many. It is not safe for
// concurrent use; its owner has a lock for more than the numbers anyway. Limiter is.
type Pool[Party comparable] struct {
	free int
	held tally[Party]
}

// NewPool returns a pool of which all places are free.
func NewPool[Party comparable](places int) *Pool[Party] {
	return &Pool[Party]{free: places, held: tally[Party]{}}
}

// Take gives the party one more place and returns true, unless it holds as many as
// are free. A party that holds none is refused only if none is free.
func (p *Pool[Party]) Take(party Party) bool {
	if p.held[party] >= p.free {
		return false
	}
	p.free--
	p.held[party]++
	return true
}

// Give takes a place back. A party that holds none has a defect, and panics.
func (p *Pool[Party]) Give(party Party) {
	p.held.less(party)
	p.free++
}

// Held returns how many places the party holds.
func (p *Pool[Party]) Held(party Party) int { return p.held[party] }

// Free returns how many places nobody holds.
func (p *Pool[Party]) Free() int { return p.free }

// tally is how many places each party holds; those that hold none have no entry.
type tally[Party comparable] map[Party]int

// less takes one from the party, which panics where it holds none.
func (t tally[Party]) less(party Party) {
	switch held := t[party]; held {
	case 0:
		panic(fmt.Sprintf("fairshare: %v gives back a place that it does not hold", party))
	case 1:
		delete(t, party)
	default:
		t[party] = held - 1
	}
}
