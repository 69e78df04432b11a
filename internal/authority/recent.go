package authority

import (
	"container/list"
	"sync"
)

// recent remembers what was made for the keys that were asked for last; beyond its
// limit the one that was quiet for longest gives way. It is safe for concurrent use.
type recent[K comparable, V any] struct {
	limit int

	mu    sync.Mutex // guards what follows
	order *list.List // of *remembered, the most recent first
	known map[K]*list.Element
}

type remembered[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, order: list.New(), known: make(map[K]*list.Element)}
}

// get returns what is remembered of the key.
func (r *recent[K, V]) get(key K) (value V, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(key)
}

// getOr returns what is remembered of the key, or else remembers what fresh makes,
// which must be quick: others wait.
func (r *recent[K, V]) getOr(key K, fresh func() V) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, found := r.find(key)
	if !found {
		value = fresh()
		r.add(key, value)
	}
	return value
}

// put remembers the value for the key, unless there is one, and reports whether it
// did.
func (r *recent[K, V]) put(key K, value V) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, found := r.find(key); found {
		return false
	}
	r.add(key, value)
	return true
}

// forget remembers nothing of the key any more.
func (r *recent[K, V]) forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if element, found := r.known[key]; found {
		delete(r.known, key)
		r.order.Remove(element)
	}
}

func (r *recent[K, V]) find(key K) (value V, found bool) {
	element, found := r.known[key]
	if !found {
		return value, false
	}
	r.order.MoveToFront(element)
	return element.Value.(*remembered[K, V]).value, true
}

func (r *recent[K, V]) add(key K, value V) {
	if len(r.known) == r.limit {
		oldest := r.order.Back()
		delete(r.known, r.order.Remove(oldest).(*remembered[K, V]).key)
	}
	r.known[key] = r.order.PushFront(&remembered[K, V]{key, value})
}
