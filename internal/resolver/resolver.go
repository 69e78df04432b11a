package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/fairshare"
)

// Bounds and times of a Resolver.
const (
	// Memory is how long an answer counts, by the monotonic clock: it stands still
	// while the host is suspended.
	Memory = 10 * time.Minute

	maxNames   = 4096
	maxKept    = 2048 // of maxNames; the rest is there for names nobody registered
	maxAnswers = 512  // addresses of one name
	maxLookups = 16   // of kept names under way at once, and as many of all others
	maxWaiting = 64   // look-ups of other names, waiting or under way
	maxHost    = 253  // bytes of a name (RFC 1035 section 2.3.4)

	lookupPause   = time.Second            // between two look-ups of one name
	keptPause     = 100 * time.Millisecond // the same for kept names, which nobody but the operator chooses
	lookupTimeout = 5 * time.Second        // of one look-up
	longestWait   = 2 * time.Second        // of a request for a look-up

	refreshAfter = Memory / 2 // a name in use is looked up again before it is forgotten
	keepEvery    = 30 * time.Second
	keepJitter   = 0.2 // of keepEvery, either way
)

// Config is what a Resolver is made of. The zero value is usable.
type Config struct {
	// Lookup asks for the addresses of a name. If nil, Go's own resolver in this
	// process's namespaces. Safe for concurrent use; it honours ctx.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Now    func() time.Time // time.Now if nil; timers are package time's
	Random func() float64   // uniform in [0, 1); math/rand/v2 if nil
	Logger *slog.Logger     // discarded if nil

	// OnChange is called when Known has changed, or nil. Calls never overlap; it
	// must not call Close.
	OnChange func()
}

// Resolver looks names up and remembers the answers. Safe for concurrent use.
type Resolver struct {
	lookupHost func(ctx context.Context, host string) ([]netip.Addr, error)
	now        func() time.Time
	random     func() float64
	logger     *slog.Logger
	onChange   func()

	started time.Time
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	// One for each look-up under way. Kept names, which are the operator's, have their
	// own: no other name, of which clients think of any number, is ever in their way.
	keptSlots  chan struct{}
	otherSlots *fairshare.Limiter[asker]

	// names is replaced, never changed, so that Verify reads it without a lock.
	names atomic.Pointer[map[string]*name]
	known atomic.Pointer[map[string][]netip.Addr]

	round   chan struct{} // wakes the keeper for a round of look-ups
	learned chan struct{} // wakes the keeper to compare what is known

	mu     sync.Mutex // held to replace names, and for:
	kept   []string   // names, without literals
	fixed  []netip.Addr
	places *fairshare.Pool[asker] // of look-ups of other names, waiting or under way
	closed bool
}

// New returns a resolver that knows nothing yet. Close it to end its goroutines.
func New(config Config) *Resolver {
	r := &Resolver{
		lookupHost: config.Lookup,
		now:        config.Now,
		random:     config.Random,
		logger:     config.Logger,
		onChange:   config.OnChange,
		keptSlots:  make(chan struct{}, maxLookups),
		otherSlots: fairshare.NewLimiter[asker](maxLookups),
		places:     fairshare.NewPool[asker](maxWaiting),
		round:      make(chan struct{}, 1),
		learned:    make(chan struct{}, 1),
	}
	if r.lookupHost == nil {
		r.lookupHost = ownLookup()
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.random == nil {
		r.random = rand.Float64
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if r.onChange == nil {
		r.onChange = func() {}
	}
	r.started = r.now()
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.names.Store(&map[string]*name{})
	r.known.Store(&map[string][]netip.Addr{})
	r.running.Go(r.keep)
	return r
}

// Close ends every look-up and returns when every goroutine has ended.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
}

// addresses returns the addresses of a name, in the order of its latest answer:
// from memory if that is fresh, else after a look-up, else what was answered in
// the last ten minutes. An address literal is its own address. What is returned
// is good to try, not verified.
func (r *Resolver) addresses(ctx context.Context, by asker, host string) ([]netip.Addr, error) {
	host = normalise(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	n, err := r.name(host, by)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", host, err)
	}
	if known := n.known.Load(); known == nil || r.now().Sub(known.at) >= keepEvery {
		err = r.await(ctx, n, by, nil)
	}
	known := n.known.Load()
	if known == nil || r.now().Sub(known.at) >= Memory {
		if err == nil {
			err = errNoAnswer
		}
		return nil, fmt.Errorf("look up %q: %w", host, err)
	}
	return slices.Clone(known.latest), nil
}

// name returns what is remembered of a name, and makes room for it if need be, but for
// nobody.
func (r *Resolver) name(host string, by asker) (*name, error) {
	if n := (*r.names.Load())[host]; n != nil {
		n.use(r.minute(r.now()))
		return n, nil
	}
	if !isHost(host) {
		return nil, errNotAName
	}
	if by == nobody {
		return nil, errNobody
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.places.Held(by) >= r.places.Free() {
		return nil, noRoom(by) // nor does the name push another one out
	}
	return r.addName(host), nil
}

// addName is name with the lock held, for a name that is valid.
func (r *Resolver) addName(host string) *name {
	names := *r.names.Load()
	n := names[host]
	if n == nil {
		n = &name{host: host}
		grown := make(map[string]*name, len(names)+1)
		maps.Copy(grown, names)
		if len(grown) >= maxNames {
			delete(grown, leastUsed(grown))
		}
		grown[host] = n
		r.names.Store(&grown)
	}
	n.use(r.minute(r.now()))
	return n
}

// minute is the clock of the names' last use; see the token cache.
func (r *Resolver) minute(now time.Time) int64 {
	return int64(now.Sub(r.started)/time.Minute) + 1
}

// normalise brings a host into the form that destinations have.
func normalise(host string) string {
	return canonical(strings.ToLower(strings.TrimSuffix(host, ".")))
}

// canonical gives an IPv6 address, which has many spellings, the one that
// destinations have.
func canonical(host string) string {
	if strings.IndexByte(host, ':') >= 0 {
		if addr, err := netip.ParseAddr(host); err == nil {
			return addr.Unmap().String()
		}
	}
	return host
}

// isHost reports whether a name can be looked up. It comes from a request's head.
func isHost(host string) bool {
	if host == "" || len(host) > maxHost || host[0] == '.' || strings.Contains(host, "..") {
		return false
	}
	return !strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}
