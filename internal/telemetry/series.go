package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
)

const (
	// maxSeries bounds the label combinations of one metric. Names come from
	// the configuration, so only years of reloads can reach it.
	maxSeries = 1024
	// overflowName stands for every name that came after maxSeries.
	overflowName = "_other"
)

// counters maps label values to counters. Reading takes no lock and allocates
// nothing: the map is never changed, a new combination replaces it by a copy.
type counters[K comparable] struct {
	overflow func(K) K // what a combination beyond maxSeries is counted as

	mu  sync.Mutex // held while adding a combination
	all atomic.Pointer[map[K]*atomic.Uint64]
}

func (c *counters[K]) get(key K) *atomic.Uint64 {
	if known := c.all.Load(); known != nil {
		if s, ok := (*known)[key]; ok {
			return s
		}
	}
	return c.add(key)
}

func (c *counters[K]) add(key K) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[K]*atomic.Uint64{}
	if old := c.all.Load(); old != nil {
		known = *old
	}
	if len(known) >= maxSeries {
		key = c.overflow(key)
	}
	if s, ok := known[key]; ok {
		return s
	}
	next := make(map[K]*atomic.Uint64, len(known)+1)
	maps.Copy(next, known)
	s := &atomic.Uint64{}
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
		f(key, s.Load())
	}
}
