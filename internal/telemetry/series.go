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

// counters is a family of counters.
type counters[K comparable] struct {
	overflow func(K) K // what a combination beyond maxSeries is counted as
	family   family[K, atomic.Uint64]
}

func (c *counters[K]) get(key K) *atomic.Uint64 { return c.family.get(key, c.overflow) }

// each calls f for every combination, in no particular order.
func (c *counters[K]) each(f func(key K, count uint64)) {
	c.family.each(func(key K, value *atomic.Uint64) { f(key, value.Load()) })
}

// family maps label values to values, whose zero value is one that nothing was
// counted in. Reading takes no lock and allocates nothing: the map is never changed,
// a new combination replaces it by a copy.
type family[K comparable, V any] struct {
	mu  sync.Mutex // held while adding a combination
	all atomic.Pointer[map[K]*V]
}

func (f *family[K, V]) get(key K, overflow func(K) K) *V {
	if known := f.all.Load(); known != nil {
		if s, ok := (*known)[key]; ok {
			return s
		}
	}
	return f.add(key, overflow)
}

func (f *family[K, V]) add(key K, overflow func(K) K) *V {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := map[K]*V{}
	if old := f.all.Load(); old != nil {
		known = *old
	}
	if len(known) >= maxSeries {
		key = overflow(key)
	}
	if s, ok := known[key]; ok {
		return s
	}
	next := make(map[K]*V, len(known)+1)
	maps.Copy(next, known)
	s := new(V)
	next[key] = s
	f.all.Store(&next)
	return s
}

// each calls f for every combination, in no particular order.
func (f *family[K, V]) each(call func(key K, value *V)) {
	known := f.all.Load()
	if known == nil {
		return
	}
	for key, s := range *known {
		call(key, s)
	}
}
