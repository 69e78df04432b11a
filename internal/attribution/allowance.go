//go:build linux

package attribution

import "time"

// maxAllowances bounds the parties, or places, whose allowances are remembered.
const maxAllowances = 4096

// allowances are token buckets, of parties or of places: each may begin what it likes while its bucket
// is not overdrawn, and waits until it is filled again. A bucket that is forgotten
// is a full one.
type allowances[Party comparable] struct {
	rate, burst float64
	spent       map[Party]spending
}

// spending is what is missing of a bucket at a time.
type spending struct {
	bytes float64
	at    time.Time
}

func newAllowances[Party comparable](rate, burst float64) *allowances[Party] {
	return &allowances[Party]{rate: rate, burst: burst, spent: make(map[Party]spending)}
}

func (a *allowances[Party]) missing(p Party, now time.Time) float64 {
	s := a.spent[p]
	return max(0, s.bytes-a.rate*now.Sub(s.at).Seconds())
}

// wait returns how long it takes until the bucket is not overdrawn.
func (a *allowances[Party]) wait(p Party, now time.Time) time.Duration {
	over := a.missing(p, now) - a.burst
	if over < 0 {
		return 0
	}
	return time.Duration(over/a.rate*float64(time.Second)) + 1
}

func (a *allowances[Party]) take(p Party, bytes int64, now time.Time) {
	missing := a.missing(p, now) + float64(bytes)
	if _, ok := a.spent[p]; !ok && len(a.spent) >= maxAllowances {
		a.makeRoom(now)
	}
	a.spent[p] = spending{missing, now}
}

// makeRoom forgets the fullest bucket of a few.
func (a *allowances[Party]) makeRoom(now time.Time) {
	var fullest Party
	least, seen := -1.0, 0
	for p := range a.spent {
		if missing := a.missing(p, now); least < 0 || missing < least {
			fullest, least = p, missing
		}
		if seen++; seen == 16 || least == 0 {
			break
		}
	}
	delete(a.spent, fullest)
}
