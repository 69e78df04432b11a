package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSeries bounds the label combinations of one metric. Names come from
	// the configuration, so only years of reloads can reach it.
	maxSeries = 1024
	// overflowName stands for every name that came after maxSeries.
	overflowName = "_other"
	// warnEvery is how often one series may write a warning, so that a client
	// that retries in a loop cannot fill the log or wait for it.
	warnEvery = 10 * time.Second
)

// series is one counter, and when it last wrote a warning.
type series struct {
	count  atomic.Uint64
	warned atomic.Int64 // Unix nanoseconds
	silent atomic.Uint64
}

// mayWarn reports whether a warning at this time may be written, and how many
// were held back since the one before.
func (s *series) mayWarn(now time.Time) (held uint64, ok bool) {
	last, at := s.warned.Load(), now.UnixNano()
	if last != 0 && at-last < int64(warnEvery) || !s.warned.CompareAndSwap(last, at) {
		s.silent.Add(1)
		return 0, false
	}
	return s.silent.Swap(0), true
}

// counters maps label values to counters. Reading takes no lock and allocates
// nothing: the map is never changed, a new combination replaces it by a copy.
type counters[K comparable] struct {
	overflow func(K) K // what a combination beyond maxSeries is counted as

	mu  sync.Mutex // held while adding a combination
	all atomic.Pointer[map[K]*series]
}

func (c *counters[K]) get(key K) *series {
	if known := c.all.Load(); known != nil {
		if s, ok := (*known)[key]; ok {
			return s
		}
	}
	return c.add(key)
}

func (c *counters[K]) add(key K) *series {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[K]*series{}
	if old := c.all.Load(); old != nil {
		known = *old
	}
	if len(known) >= maxSeries {
		key = c.overflow(key)
	}
	if s, ok := known[key]; ok {
		return s
	}
	next := make(map[K]*series, len(known)+1)
	maps.Copy(next, known)
	s := &series{}
	next[key] = s
	c.all.Store(&next)
	return s
}

// each calls f for every combination, in no particular order.
func (c *counters[K]) each(f func(key K, count uint64)) {
	known := c.all.Load()
	if known == nil {
		return
	}
	for key, s := range *known {
		f(key, s.count.Load())
	}
}
