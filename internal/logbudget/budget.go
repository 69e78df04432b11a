package logbudget

import (
	"log/slog"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/fairshare"
)

// The defaults of Config.
const (
	DefaultEvery      = 10 * time.Second
	DefaultStrangers  = 64
	DefaultIdentities = 1024
)

// Config is what a Budget is made of. A zero field means its default.
type Config struct {
	Every      time.Duration    // one line of a kind about one source
	Strangers  int              // sources without identity that have a budget of their own within Every, for each kind
	Identities int              // identities that do
	Now        func() time.Time // time.Now if nil
}

// Budget lets one line of each kind and source pass in a while, and counts the
// rest. Sources beyond the configured numbers share one more budget for each
// kind, so that time bounds the lines, and memory is bounded, whatever others do:
// per kind to Strangers + Identities + 2 lines within Every. Strangers, however
// many, never use up what identities have, and those of one place, as a container's
// users, leave others as many budgets as they have. It is safe for concurrent use.
type Budget struct {
	every time.Duration
	now   func() time.Time
	caps  [2]int // of strangers, of identities

	mu    sync.Mutex // guards what follows
	kinds map[string]*[2]table
}

// New makes a budget of which nothing is used up.
func New(c Config) *Budget {
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Strangers == 0 {
		c.Strangers = DefaultStrangers
	}
	if c.Identities == 0 {
		c.Identities = DefaultIdentities
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Budget{every: c.Every, now: c.Now, caps: [2]int{c.Strangers, c.Identities}, kinds: map[string]*[2]table{}}
}

// Allow reports whether a line of this kind about this source may be logged now,
// and if so, how many were left out since the last one: lines of this kind about
// this source, and about sources that have been forgotten since. Kinds are
// constants of the program, never made from what a source says.
func (b *Budget) Allow(kind string, source Source) (dropped uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tables := b.kinds[kind]
	if tables == nil {
		tables = &[2]table{newTable(b.caps[0]), newTable(b.caps[1])}
		b.kinds[kind] = tables
	}
	class := 0
	if source.reserved() {
		class = 1
	}
	return tables[class].allow(source, b.now(), b.every)
}

// Warn logs a warning if the budget allows it, with the number of those left out.
func (b *Budget) Warn(log *slog.Logger, kind string, source Source, msg string, args ...any) {
	dropped, ok := b.Allow(kind, source)
	if !ok {
		return
	}
	if dropped > 0 {
		args = append(args, "left_out", dropped)
	}
	log.Warn(msg, args...)
}

// table holds the budgets of one kind for one class of sources.
type table struct {
	room      *fairshare.Nested[Source, Source]
	entries   map[Source]*entry // each has a place in room
	rest      entry             // of all who find no room
	forgotten uint64            // lines left out about sources that have no entry any more
	full      time.Time         // until when looking for room is in vain
}

// entry is the budget of one source.
type entry struct {
	next    time.Time // when it may log again
	dropped uint64
}

func newTable(room int) table {
	return table{room: fairshare.NewNested[Source, Source](room), entries: map[Source]*entry{}}
}

// find returns the entry of a source, which is that of the rest where it finds no room.
func (t *table) find(source Source, now time.Time) *entry {
	if e := t.entries[source]; e != nil {
		return e
	}
	if !t.room.Take(source) {
		t.forget(now)
		if !t.room.Take(source) {
			return &t.rest
		}
	}
	e := new(entry)
	t.entries[source] = e
	return e
}

func (t *table) allow(source Source, now time.Time, every time.Duration) (uint64, bool) {
	e := t.find(source, now)
	if now.Before(e.next) {
		e.dropped++
		return 0, false
	}
	dropped := e.dropped + t.forgotten
	e.dropped, t.forgotten = 0, 0
	e.next = now.Add(every)
	return dropped, true
}

// forget makes room: an entry whose time is over is as good as none.
func (t *table) forget(now time.Time) {
	if now.Before(t.full) {
		return
	}
	t.full = time.Time{}
	for source, e := range t.entries {
		switch {
		case !now.Before(e.next):
			t.forgotten += e.dropped
			delete(t.entries, source)
			t.room.Give(source)
		case t.full.IsZero() || e.next.Before(t.full):
			t.full = e.next
		}
	}
}
