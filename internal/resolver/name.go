package resolver

import (
	"cmp"
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
	hunted  atomic.Bool               // the latest look-up asked often, and in vain

	mu      sync.Mutex
	flight  *flight       // the look-up that waits or is under way; nil between
	news    chan struct{} // closed with the next answer; nil while nobody waits for it
	asked   time.Time     // when the latest look-up began; zero if none did
	failure error         // of the latest look-up, nil if it was answered
}

// knowledge is what the answers for a name were. It is immutable.
type knowledge struct {
	at     time.Time // of the latest answer
	latest []netip.Addr
	seen   map[netip.Addr]time.Time // when each address of the last ten minutes was answered last
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
	seen, ok := known.seen[addr]
	return ok && now.Sub(seen) < Memory
}

// addresses returns what was answered in the last ten minutes, sorted.
func (n *name) addresses(now time.Time) []netip.Addr {
	known := n.known.Load()
	if known == nil {
		return nil
	}
	var addrs []netip.Addr
	for addr, seen := range known.seen {
		if now.Sub(seen) < Memory {
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// learn adds an answer, and returns how many of its addresses were not known. Only the
// one look-up under way calls it.
func (n *name) learn(addrs []netip.Addr, now time.Time) (fresh int) {
	next := &knowledge{at: now, seen: make(map[netip.Addr]time.Time)}
	for _, addr := range addrs {
		addr = plain(addr)
		if !addr.IsValid() || len(next.latest) == maxAnswers {
			continue
		}
		if _, twice := next.seen[addr]; twice {
			continue
		}
		next.latest = append(next.latest, addr)
		next.seen[addr] = now
		if !n.had(addr, now) {
			fresh++
		}
	}
	if before := n.known.Load(); before != nil {
		next.keep(before.seen, now)
	}
	n.known.Store(next)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.news != nil {
		close(n.news)
		n.news = nil
	}
	return fresh
}

// keep adds what was answered earlier, as far as it counts and fits: the latest first.
func (k *knowledge) keep(earlier map[netip.Addr]time.Time, now time.Time) {
	var others []netip.Addr
	for addr, seen := range earlier {
		if _, again := k.seen[addr]; !again && now.Sub(seen) < Memory {
			others = append(others, addr)
		}
	}
	if room := maxAnswers - len(k.seen); len(others) > room {
		slices.SortFunc(others, func(a, b netip.Addr) int {
			return cmp.Or(earlier[b].Compare(earlier[a]), a.Compare(b))
		})
		others = others[:room]
	}
	for _, addr := range others {
		k.seen[addr] = earlier[addr]
	}
}

// nextAnswer returns what is closed with the next answer.
func (n *name) nextAnswer() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.news == nil {
		n.news = make(chan struct{})
	}
	return n.news
}

// pause is the least time between the beginnings of two look-ups.
func (n *name) pause() time.Duration {
	if n.kept.Load() && !n.hunted.Load() {
		return keptPause
	}
	return lookupPause
}

// varies reports whether answers were not all the same in the last ten minutes.
func (n *name) varies() bool {
	known := n.known.Load()
	return known != nil && len(known.seen) > len(known.latest)
}

// endHunt remembers whether many questions found nothing that somebody waited for: the
// next ones have time.
func (n *name) endHunt(inVain bool) { n.hunted.Store(inVain) }

// isAwaited reports whether somebody waits for a look-up.
func (n *name) isAwaited(f *flight) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return f.waiters > 0
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
