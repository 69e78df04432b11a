//go:build linux

package attribution

import (
	"context"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// shardCount spreads images over locks: many more than cores.
	shardCount = 64
	// maxImages bounds the images of one shard, so 16384 altogether: more
	// processes than a host has that connect to registered destinations.
	maxImages = 256
	// maxProcesses bounds the combinations of ids and cgroup that are remembered
	// of one image. A server that takes on its clients' uids has many.
	maxProcesses = 32
)

// key names one process: the same image with other ids or in another cgroup is
// read anew.
type key struct {
	image    workload.Image
	uid, gid uint32
	cgroup   uint64
}

// memory remembers images that were alive, and what was read of them. When a
// shard is full, an image of the party that has the most there gives way, and is
// read again when it comes back: whoever starts many processes pushes out their
// own.
type memory struct{ shards [shardCount]shard }

type shard struct {
	mu      sync.RWMutex
	images  *byParty[workload.Image, *known] // at most maxImages
	flights map[flightKey]*flight            // admission bounds them
}

// known is an image that was alive after its epoch was read.
type known struct {
	epoch    uint64
	readings map[key]*reading // at most maxProcesses
}

func newMemory() *memory {
	m := &memory{}
	for i := range m.shards {
		m.shards[i].images = newByParty[workload.Image, *known](maxImages)
		m.shards[i].flights = make(map[flightKey]*flight)
	}
	return m
}

func (m *memory) shard(i workload.Image) *shard { return &m.shards[i.PID%shardCount] }

// epoch returns the epoch after which the image was alive.
func (m *memory) epoch(i workload.Image) (uint64, bool) {
	s := m.shard(i)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if k, ok := s.images.get(i); ok {
		return k.epoch, true
	}
	return 0, false
}

// remember notes that the image was alive after this epoch was read. Of two that
// remember at the same time the older may win, which costs a look-up and no more:
// an epoch never returns. Where the party is not known, it is the zero one.
func (m *memory) remember(i workload.Image, epoch uint64, p workload.Party) {
	s := m.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.images.get(i); ok {
		k.epoch = epoch
		if p != (workload.Party{}) {
			s.images.put(i, k, p)
		}
		return
	}
	s.images.put(i, &known{epoch: epoch, readings: make(map[key]*reading)}, p)
}

func (m *memory) forget(i workload.Image) {
	s := m.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images.remove(i)
}

// find returns what was read of a process before, or nil.
func (m *memory) find(k key) *reading {
	s := m.shard(k.image)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.find(k)
}

func (s *shard) find(k key) *reading {
	if image, ok := s.images.get(k.image); ok {
		return image.readings[k]
	}
	return nil
}

// confirm notes that a reading satisfies an interest too.
func (m *memory) confirm(k key, r *reading, i *Interest) {
	if r.under == i {
		return
	}
	s := m.shard(k.image)
	s.mu.Lock()
	defer s.mu.Unlock()
	if image, ok := s.images.get(k.image); ok && image.readings[k] == r {
		image.readings[k] = &reading{process: r.process, facts: r.facts, under: i}
	}
}

type flightKey struct {
	key
	interest *Interest
}

// flight is one reading of a process under way.
type flight struct {
	flightKey
	deadline time.Time
	landed   chan struct{} // closed when the others are set
	reading  *reading
	err      error
}

// join returns the flight that reads a process, and whether the caller is the
// first, who has to have it flown.
func (m *memory) join(k key, i *Interest, deadline time.Time) (f *flight, first bool) {
	s := m.shard(k.image)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := flightKey{key: k, interest: i}
	if f := s.flights[at]; f != nil {
		return f, false
	}
	f = &flight{flightKey: at, deadline: deadline, landed: make(chan struct{})}
	if r := s.find(k); r != nil && r.under == i { // it landed just now
		f.reading = r
		close(f.landed)
		return f, false
	}
	s.flights[at] = f
	return f, true
}

// land ends a flight and remembers what it brought, unless the image was
// forgotten meanwhile.
func (m *memory) land(f *flight) {
	s := m.shard(f.image)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, f.flightKey)
	if image, ok := s.images.get(f.image); ok && f.err == nil {
		if len(image.readings) >= maxProcesses {
			clear(image.readings)
		}
		image.readings[f.key] = f.reading
	}
	close(f.landed)
}

// wait returns what a flight brought, by ctx's end and by the flight's deadline. A
// flight that is past it is not waited for.
func (f *flight) wait(ctx context.Context) (*reading, error) {
	late := time.NewTimer(time.Until(f.deadline))
	defer late.Stop()
	select {
	case <-f.landed:
		return f.reading, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, ErrLate
	}
}
