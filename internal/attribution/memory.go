//go:build linux

package attribution

import (
	"sync"

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

// key names one reading of a process: the same image with other ids, in another
// cgroup or with other facts wanted is read anew.
type key struct {
	image    workload.Image
	uid, gid uint32
	cgroup   uint64
	facts    Facts
}

// flight is one reading under way.
type flight struct {
	landed  chan struct{} // closed when the others are set
	process *workload.Process
	err     error
}

// memory remembers images that were alive, and what was read of them. When a
// shard is full, any image gives way: it is read again when it comes back.
type memory struct{ shards [shardCount]shard }

type shard struct {
	mu      sync.RWMutex
	images  map[workload.Image]*known // at most maxImages
	flights map[key]*flight           // one for each caller that reads at most
}

// known is an image that was alive after its epoch was read.
type known struct {
	epoch     uint64
	processes map[key]*workload.Process // at most maxProcesses
}

func newMemory() *memory {
	m := &memory{}
	for i := range m.shards {
		m.shards[i].images = make(map[workload.Image]*known)
		m.shards[i].flights = make(map[key]*flight)
	}
	return m
}

func (m *memory) shard(i workload.Image) *shard { return &m.shards[i.PID%shardCount] }

// epoch returns the epoch after which the image was alive.
func (m *memory) epoch(i workload.Image) (uint64, bool) {
	s := m.shard(i)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if k := s.images[i]; k != nil {
		return k.epoch, true
	}
	return 0, false
}

// remember notes that the image was alive after this epoch was read. Of two that
// remember at the same time the older may win, which costs a look-up and no more:
// an epoch never returns.
func (m *memory) remember(i workload.Image, epoch uint64) {
	s := m.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.images[i]; k != nil {
		k.epoch = epoch
		return
	}
	if len(s.images) >= maxImages {
		for old := range s.images {
			delete(s.images, old)
			break
		}
	}
	s.images[i] = &known{epoch: epoch, processes: make(map[key]*workload.Process)}
}

func (m *memory) forget(i workload.Image) {
	s := m.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.images, i)
}

// forgetProcesses drops every reading and keeps which images are alive.
func (m *memory) forgetProcesses() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, k := range s.images {
			clear(k.processes)
		}
		s.mu.Unlock()
	}
}

// join returns the process if it was read before. Otherwise it returns the flight
// that reads it, and whether the caller is the first, who has to.
func (m *memory) join(k key) (p *workload.Process, f *flight, first bool) {
	s := m.shard(k.image)
	s.mu.RLock()
	if image := s.images[k.image]; image != nil {
		p = image.processes[k]
	}
	s.mu.RUnlock()
	if p != nil {
		return p, nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if image := s.images[k.image]; image != nil && image.processes[k] != nil {
		return image.processes[k], nil, false
	}
	if f := s.flights[k]; f != nil {
		return nil, f, false
	}
	f = &flight{landed: make(chan struct{})}
	s.flights[k] = f
	return nil, f, true
}

// land ends a flight and remembers what it brought, unless the image was
// forgotten meanwhile.
func (m *memory) land(k key, f *flight) {
	s := m.shard(k.image)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, k)
	if image := s.images[k.image]; image != nil && f.err == nil {
		if len(image.processes) >= maxProcesses {
			clear(image.processes)
		}
		image.processes[k] = f.process
	}
	close(f.landed)
}
