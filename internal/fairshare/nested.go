package fairshare

import "fmt"

// Placed is a party that is in a place with others, of which one owner may make any
// number. It is in the same place for as long as it holds anything.
type Placed[Place comparable] interface {
	comparable
	Place() Place
}

// Nested is a Pool that is shared in two steps: a place may hold as many as are free, and
// a party as many as its place may still take. So the first party of a place leaves room
// to the next, and both together leave as many to other places as they hold. It is not
// safe for concurrent use.
type Nested[Place comparable, Party Placed[Place]] struct {
	places *Pool[Place]
	held   tally[Party]
}

// NewNested returns a pool of which all places are free.
func NewNested[Place comparable, Party Placed[Place]](places int) *Nested[Place, Party] {
	return &Nested[Place, Party]{places: NewPool[Place](places), held: tally[Party]{}}
}

// Take gives the party one more and returns true, unless it holds as many as its place
// may still take. A party that holds none is refused only where its place holds as many
// as are free.
func (n *Nested[Place, Party]) Take(party Party) bool {
	place := party.Place()
	if n.held[party] >= n.places.Free()-n.places.Held(place) || !n.places.Take(place) {
		return false
	}
	n.held[party]++
	return true
}

// Pass gives one that a party holds to another of the same place, which always may have
// it: the place holds as many as before.
func (n *Nested[Place, Party]) Pass(from, to Party) {
	if from.Place() != to.Place() {
		panic(fmt.Sprintf("fairshare: %v and %v are not in one place", from, to))
	}
	n.held.less(from)
	n.held[to]++
}

// Give takes one back. A party that holds none has a defect, and panics.
func (n *Nested[Place, Party]) Give(party Party) {
	n.held.less(party)
	n.places.Give(party.Place())
}

// Held returns how many the party holds.
func (n *Nested[Place, Party]) Held(party Party) int { return n.held[party] }

// HeldIn returns how many the parties of a place hold.
func (n *Nested[Place, Party]) HeldIn(place Place) int { return n.places.Held(place) }

// Free returns how many nobody holds.
func (n *Nested[Place, Party]) Free() int { return n.places.Free() }
