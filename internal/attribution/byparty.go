//go:build linux

package attribution

import "github.com/lanyardhq/lanyard/internal/workload"

// byParty is a bounded memory whose entries belong to parties. When it is full, an entry
// of the place that has the most, and there of the party that has, gives way to a new
// one: so a place loses entries only to places that have fewer, whatever others do.
type byParty[K comparable, V any] struct {
	most    int
	entries map[K]entry[V]
	owned   map[workload.Party]map[K]struct{} // the keys of each party, none empty
	in      map[workload.Place]int            // how many keys the parties of a place have
}

type entry[V any] struct {
	value V
	owner workload.Party
}

func newByParty[K comparable, V any](most int) *byParty[K, V] {
	return &byParty[K, V]{
		most: most, entries: make(map[K]entry[V]),
		owned: make(map[workload.Party]map[K]struct{}), in: make(map[workload.Place]int),
	}
}

func (b *byParty[K, V]) get(k K) (V, bool) {
	e, ok := b.entries[k]
	return e.value, ok
}

// put adds an entry, or gives one another value and owner.
func (b *byParty[K, V]) put(k K, v V, owner workload.Party) {
	b.remove(k)
	if len(b.entries) >= b.most {
		b.remove(b.spare(owner))
	}
	b.entries[k] = entry[V]{v, owner}
	if b.owned[owner] == nil {
		b.owned[owner] = make(map[K]struct{})
	}
	b.owned[owner][k] = struct{}{}
	b.in[owner.Place()]++
}

// spare returns a key of the place and party that have the most, which are the
// newcomer's own where they have as many as any.
func (b *byParty[K, V]) spare(newcomer workload.Party) (k K) {
	place := newcomer.Place()
	for other, n := range b.in {
		if n > b.in[place] {
			place = other
		}
	}
	var keys map[K]struct{}
	if place == newcomer.Place() {
		keys = b.owned[newcomer]
	}
	for owner, others := range b.owned {
		if owner.Place() == place && len(others) > len(keys) {
			keys = others
		}
	}
	for k = range keys {
		break
	}
	return k
}

func (b *byParty[K, V]) remove(k K) {
	e, ok := b.entries[k]
	if !ok {
		return
	}
	delete(b.entries, k)
	delete(b.owned[e.owner], k)
	if len(b.owned[e.owner]) == 0 {
		delete(b.owned, e.owner)
	}
	if b.in[e.owner.Place()]--; b.in[e.owner.Place()] == 0 {
		delete(b.in, e.owner.Place())
	}
}
