package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// name is what is remembered of one name.
type name struct {
	host    string
	known   atomic.Pointer[knowledge] // nil before the first answer
	lastUse atomic.Int64              // minute of the resolver's clock
	kept    atomic.Bool               // looked up again and again; never evicted

	mu      sync.Mutex
	flight  *flight   // the look-up that waits or is under way; nil between
	asked   time.Time // when the latest look-up began; zero if none did
	failure error     // of the latest look-up, nil if it was answered
}

// knowledge is what the answers for a name were. It is immutable.
type knowledge struct {
	at      time.Time // of the latest answer
	latest  []netip.Addr
	answers []answer // of the last ten minutes, the latest first
}

// answer is an address that a name had.
type answer struct {
	addr netip.Addr
	seen time.Time // when it was answered last
}

// use remembers that somebody wanted the name and reports whether that is the
// first time in this minute.
func (n *name) use(minute int64) bool {
	return n.lastUse.Load() != minute && n.lastUse.Swap(minute) != minute
}

// had reports whether the address was answered in the last ten minutes.
func (n *name) had(addr netip.Addr, now time.Time) bool {
	known := n.known.Load()
	if known == nil {
		return false
	}
	for i := range known.answers {
		if known.answers[i].addr == addr {
			return now.Sub(known.answers[i].seen) < Memory
		}
	}
	return false
}

// addresses returns what was answered in the last ten minutes, sorted.
func (n *name) addresses(now time.Time) []netip.Addr {
	known := n.known.Load()
	if known == nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range known.answers {
		if now.Sub(a.seen) < Memory {
			addrs = append(addrs, a.addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// learn adds an answer. Only the one look-up under way calls it.
func (n *name) learn(addrs []netip.Addr, now time.Time) {
	next := &knowledge{at: now}
	for _, addr := range addrs {
		addr = plain(addr)
		if !addr.IsValid() || slices.Contains(next.latest, addr) || len(next.latest) == maxAnswers {
			continue
		}
		next.latest = append(next.latest, addr)
		next.answers = append(next.answers, answer{addr, now})
	}
	if before := n.known.Load(); before != nil {
		for _, a := range before.answers {
			if now.Sub(a.seen) < Memory && !slices.Contains(next.latest, a.addr) && len(next.answers) < maxAnswers {
				next.answers = append(next.answers, a)
			}
		}
	}
	n.known.Store(next)
}

// plain returns the address as connections have it.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// leastUsed returns the name unused for longest that nobody keeps; since fewer
// names may be kept than there is room for, there is one.
func leastUsed(names map[string]*name) string {
	var least *name
	for _, n := range names {
		if !n.kept.Load() && (least == nil || n.lastUse.Load() < least.lastUse.Load()) {
			least = n
		}
	}
	return least.host
}
