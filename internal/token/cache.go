package token

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults and bounds of a Cache.
const (
	DefaultMaxKeys      = 4096
	DefaultIdleAfter    = time.Hour
	DefaultFetchTimeout = 15 * time.Second

	// rejectedPause is how long a key is left alone after a destination's 401
	// had its token renewed: one broken destination must not become a storm.
	rejectedPause = 10 * time.Second
	// forgetFailed is how long a key that never had a token is remembered after
	// its last use, and with it how far its back-off has come.
	forgetFailed = 2 * time.Minute
)

// CacheConfig is what a Cache is made of. The zero value is usable.
type CacheConfig struct {
	Now    func() time.Time // time.Now if nil; timers are package time's
	Random func() float64   // uniform in [0, 1), safe for concurrent use; math/rand/v2 if nil
	Logger *slog.Logger     // discarded if nil

	Observer Observer // of every attempt, or nil

	MaxKeys      int           // keys held at once, shared among identities; DefaultMaxKeys if 0
	IdleAfter    time.Duration // a key unused for so long is dropped instead of renewed; DefaultIdleAfter if 0
	FetchTimeout time.Duration // of one call of a source; DefaultFetchTimeout if 0
}

// Cache holds tokens and keeps those in use warm: each key has one keeper, a
// goroutine that obtains its token, renews it in the background at 80 % of its
// life and drops it when nobody wants it any more. An identity has as many keys as there
// is still room for, and then gives up its own, or takes one from the identity that has
// the most: none pushes out what another has up to an equal share. A warm Get takes no lock,
// allocates nothing and makes no system call. Safe for concurrent use.
type Cache struct {
	now      func() time.Time
	schedule schedule
	logger   *slog.Logger
	observer Observer

	maxKeys      int
	idleAfter    time.Duration
	fetchTimeout time.Duration

	started time.Time // origin of the entries' clocks, which therefore never jump
	ctx     context.Context
	stop    context.CancelFunc
	keepers sync.WaitGroup

	// entries is replaced, never changed, so that Get reads it without a lock.
	entries atomic.Pointer[map[Request]*entry]

	mu      sync.Mutex // held to replace entries, and for:
	sources map[string]Source
	evicted map[*entry]struct{} // those whose keepers have not ended yet
	closed  bool
}

// NewCache returns an empty cache without sources; Update gives it some. Close it
// to end its goroutines.
func NewCache(config CacheConfig) *Cache {
	c := &Cache{
		now:          config.Now,
		schedule:     schedule{random: config.Random},
		logger:       config.Logger,
		observer:     config.Observer,
		maxKeys:      config.MaxKeys,
		idleAfter:    config.IdleAfter,
		fetchTimeout: config.FetchTimeout,
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.schedule.random == nil {
		c.schedule.random = rand.Float64
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.observer == nil {
		c.observer = unobserved{}
	}
	if c.maxKeys <= 0 {
		c.maxKeys = DefaultMaxKeys
	}
	if c.idleAfter <= 0 {
		c.idleAfter = DefaultIdleAfter
	}
	if c.fetchTimeout <= 0 {
		c.fetchTimeout = DefaultFetchTimeout
	}
	c.started = c.now()
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.evicted = map[*entry]struct{}{}
	c.entries.Store(&map[Request]*entry{})
	return c
}

// Get returns a valid token. A warm key answers at once. A cold one waits for the
// one attempt under way, or fails at once with the last failure while its source
// is left alone; ctx ends the wait, not the attempt.
func (c *Cache) Get(ctx context.Context, r Request) (Token, error) {
	now := c.now()
	if e := (*c.entries.Load())[r]; e != nil {
		if t, ok := e.token(now); ok {
			e.use(c.minute(now))
			return t, nil
		}
	}
	return c.obtain(ctx, r)
}

// obtain is Get for a key without a valid token.
func (c *Cache) obtain(ctx context.Context, r Request) (Token, error) {
	for {
		e, err := c.entry(r)
		if err != nil {
			return Token{}, fmt.Errorf("get token for %v: %w", r, err)
		}
		t, err := e.await(ctx, c.now)
		if err != errGone {
			return t, err
		}
	}
}

// Rejected says that a destination answered 401 to this token. The key is renewed
// in the background, unless that has happened already or less than ten seconds
// ago; the token is served until then, since only its destination knows better.
func (c *Cache) Rejected(r Request, t Token) {
	e := (*c.entries.Load())[r]
	if e == nil {
		return
	}
	if held := e.held.Load(); held == nil || held.token.Reveal() != t.Reveal() {
		return
	}
	now := int64(c.now().Sub(c.started))
	last := e.rejected.Load()
	if last != 0 && now-last < int64(rejectedPause) {
		return
	}
	if e.rejected.CompareAndSwap(last, now) {
		e.wake()
	}
}

// Held returns when the token that is held for a key expires, if there is one that
// is valid. It does not count as a use.
func (c *Cache) Held(r Request) (expires time.Time, ok bool) {
	e := (*c.entries.Load())[r]
	if e == nil {
		return time.Time{}, false
	}
	t, ok := e.token(c.now())
	return t.expires, ok
}

// Update replaces the sources, by name of identity. Keys whose identity keeps the
// same source (the same pointer) keep their warm tokens; all others are dropped.
// When Update returns, no call of a dropped source is under way any more, and it
// may be closed.
func (c *Cache) Update(sources map[string]Source) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.sources = maps.Clone(sources)
	kept := make(map[Request]*entry, len(*c.entries.Load()))
	var dropped []*entry
	for r, e := range *c.entries.Load() {
		if s, ok := c.sources[r.Identity]; ok && same(s, e.source) {
			kept[r] = e
			continue
		}
		dropped = append(dropped, e)
	}
	c.entries.Store(&kept)
	dropped = slices.AppendSeq(dropped, maps.Keys(c.evicted))
	c.mu.Unlock()

	for _, e := range dropped {
		e.cancel()
	}
	for _, e := range dropped {
		<-e.done
	}
}

// Close drops every token and returns when every goroutine of the cache has
// ended. Get fails from then on.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.entries.Store(&map[Request]*entry{})
	c.mu.Unlock()
	c.stop()
	c.keepers.Wait()
}

// entry returns the entry of a key and starts its keeper if there is none yet.
func (c *Cache) entry(r Request) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	entries := *c.entries.Load()
	if e := entries[r]; e != nil {
		e.use(c.minute(c.now()))
		return e, nil
	}
	source, ok := c.sources[r.Identity]
	if !ok {
		return nil, ErrNoSource
	}
	grown := make(map[Request]*entry, len(entries)+1)
	maps.Copy(grown, entries)
	if givesWay, full := shareOf(grown, r.Identity, c.maxKeys); full {
		victim := leastUseful(grown, givesWay, c.now())
		if victim == nil {
			victim = leastUseful(grown, r.Identity, c.now())
		}
		if victim == nil {
			return nil, fmt.Errorf("%d tokens are held or being obtained for this identity, and there is no room for more; try again when one of them is there", count(grown, r.Identity))
		}
		delete(grown, victim.request)
		c.evicted[victim] = struct{}{}
		victim.cancel()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	e := newEntry(r, source, cancel)
	e.use(c.minute(c.now()))
	grown[r] = e
	c.entries.Store(&grown)
	c.keepers.Add(1)
	go c.keep(ctx, e)
	return e, nil
}

// forget takes an entry out, unless it is out already.
func (c *Cache) forget(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.evicted, e)
	entries := *c.entries.Load()
	if entries[e.request] != e {
		return
	}
	shrunk := maps.Clone(entries)
	delete(shrunk, e.request)
	c.entries.Store(&shrunk)
}

// minute is the clock of the entries' last use: coarse, so that a busy key writes
// to memory that other processors read once a minute only.
func (c *Cache) minute(now time.Time) int64 {
	return int64(now.Sub(c.started)/time.Minute) + 1
}
