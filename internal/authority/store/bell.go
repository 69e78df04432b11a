package store

import "sync"

// bell tells any number of goroutines that something happened. It has a lock of its
// own: a caller whose write waits for the writer must not keep it from ringing.
type bell struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next ring; nil if nobody waits for it
}

func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Appended returns a channel that is closed once there are more events than now.
func (s *Store) Appended() <-chan struct{} { return s.appended.wait() }
