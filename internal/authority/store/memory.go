package store

import (
	"sync"
	"time"
)

// maxRemembered bounds the workloads that are remembered; beyond it all are
// forgotten, and read anew as they call.
const maxRemembered = 10000

// memory remembers workloads, with their tickets, as they are committed: a busy one
// need not be read with every token. Every commit that changes anything else than
// what happened (events, spent ids, contacts) makes it forget all of them, so that no
// control is ever evaluated as it was before. It is safe for concurrent use.
type memory struct {
	mu      sync.Mutex // guards what follows
	changes uint64     // commits that made it forget
	known   map[string]Enrolled
}

func newMemory() *memory { return &memory{known: make(map[string]Enrolled)} }

// recall returns what is remembered of a workload, and the state that it is of, which
// goes with what is read where nothing is remembered.
func (m *memory) recall(id string) (found Enrolled, changes uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok = m.known[id]
	return found, m.changes, ok
}

// remember keeps what was read, unless something was changed since.
func (m *memory) remember(e Enrolled, changes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if changes != m.changes {
		return
	}
	if len(m.known) == maxRemembered {
		clear(m.known)
	}
	m.known[e.Workload.ID] = e
}

// forget is to be called after a commit, before anybody is told of it.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	clear(m.known)
}

// contacted notes a committed contact.
func (m *memory) contacted(id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.known[id]; ok {
		e.Workload.LastContactAt = at
		m.known[id] = e
	}
}
