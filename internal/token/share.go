package token

import "time"

// shareOf reports whether an identity holds as many keys as there is room for, so that
// one has to give way to its next, and whose that is: of the identity that has the most,
// which is its own where it has as many as any.
func shareOf(entries map[Request]*entry, identity string, room int) (givesWay string, full bool) {
	held := map[string]int{}
	for r := range entries {
		held[r.Identity]++
	}
	givesWay = identity
	for other, n := range held {
		if n > held[givesWay] {
			givesWay = other
		}
	}
	return givesWay, held[identity] >= room-len(entries)
}

func count(entries map[Request]*entry, identity string) (n int) {
	for r := range entries {
		if r.Identity == identity {
			n++
		}
	}
	return n
}

// leastUseful returns the identity's entry that is missed least: one without a valid
// token before one with, then the one unused for longest. One whose first token is being
// obtained is left alone, since who waits for it would come back at once and have
// another one evicted. It returns nil if all are such.
func leastUseful(entries map[Request]*entry, identity string, now time.Time) *entry {
	var least *entry
	var leastValid bool
	for r, e := range entries {
		if r.Identity != identity {
			continue
		}
		_, valid := e.token(now)
		if !valid && e.inFlight() {
			continue
		}
		if least == nil || (leastValid && !valid) ||
			(leastValid == valid && e.lastUse.Load() < least.lastUse.Load()) {
			least, leastValid = e, valid
		}
	}
	return least
}
