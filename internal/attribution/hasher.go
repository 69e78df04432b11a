//go:build linux

package attribution

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// hashBuffer is hashed at a time, and then it is another party's turn.
	hashBuffer = 512 << 10
	// hashRate is how many bytes a second a party can have hashed for long, and
	// hashBurst how many before that counts. A place can have twice as much.
	hashRate, hashBurst, ofPlace = 64 << 20, 512 << 20, 2
)

// hasher hashes files for several parties in turn, on some of the cores, and none
// more than its allowance. So how long a file takes depends on its own size, and
// not on what others have hashed.
type hasher struct {
	now func() time.Time

	mu      sync.Mutex
	slots   int // free
	turn    uint64
	lastly  map[workload.Party]uint64   // when a party had its turn, of those with files under way
	users   map[workload.Party]int      // how many files each has under way
	queue   []*turn                     // oldest first
	parties *allowances[workload.Party] // nil: without bounds
	places  *allowances[workload.Place]
}

// turn is a buffer that waits to be hashed.
type turn struct {
	party workload.Party
	begun chan struct{}
}

func newHasher() *hasher {
	return &hasher{
		now:    time.Now,
		slots:  max(1, min(2, runtime.GOMAXPROCS(0)/2)),
		lastly: make(map[workload.Party]uint64),
		users:  make(map[workload.Party]int),
	}
}

// limit gives every party an allowance. Call it before the hasher is used.
func (h *hasher) limit() {
	h.parties = newAllowances[workload.Party](hashRate, hashBurst)
	h.places = newAllowances[workload.Place](ofPlace*hashRate, ofPlace*hashBurst)
}

// copy hashes what a reader of this size holds. It returns ErrBusy if the party
// has used up its allowance.
func (h *hasher) copy(ctx context.Context, to hash.Hash, from io.Reader, size int64, by workload.Party) (n int64, err error) {
	if err := h.charge(by, size); err != nil {
		return 0, err
	}
	defer h.leave(by)
	buf := make([]byte, min(hashBuffer, size+1))
	for {
		// Read without a slot: a file system that does not answer holds none.
		got, readErr := io.ReadFull(from, buf)
		if got > 0 {
			if err := h.begin(ctx, by); err != nil {
				return n, err
			}
			to.Write(buf[:got])
			h.end()
		}
		n += int64(got)
		switch {
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF):
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// charge takes bytes from the allowances of a party and its place.
func (h *hasher) charge(by workload.Party, bytes int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users[by]++
	if h.parties == nil {
		return nil
	}
	now := h.now()
	wait := max(h.parties.wait(by, now), h.places.wait(by.Place(), now))
	if wait > 0 {
		h.left(by)
		return fmt.Errorf("%w: %v has had executables hashed at more than %d MiB/s; again in %v",
			ErrBusy, by, hashRate>>20, wait.Round(time.Millisecond))
	}
	h.parties.take(by, bytes, now)
	h.places.take(by.Place(), bytes, now)
	return nil
}

func (h *hasher) leave(by workload.Party) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left(by)
}

func (h *hasher) left(by workload.Party) {
	if h.users[by]--; h.users[by] == 0 {
		delete(h.users, by)
		delete(h.lastly, by)
	}
}

// begin waits for the party's turn.
func (h *hasher) begin(ctx context.Context, by workload.Party) error {
	h.mu.Lock()
	t := &turn{party: by, begun: make(chan struct{})}
	h.queue = append(h.queue, t)
	h.next()
	h.mu.Unlock()
	select {
	case <-t.begun:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.queue, t); i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
		return ctx.Err()
	}
	h.slots++ // it began in the meantime
	h.next()
	return ctx.Err()
}

func (h *hasher) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots++
	h.next()
}

// next gives free slots to those whose party's last turn is the longest ago.
func (h *hasher) next() {
	for h.slots > 0 && len(h.queue) > 0 {
		first := 0
		for i, t := range h.queue {
			if h.lastly[t.party] < h.lastly[h.queue[first].party] {
				first = i
			}
		}
		t := h.queue[first]
		h.queue = slices.Delete(h.queue, first, first+1)
		h.turn++
		h.lastly[t.party] = h.turn
		h.slots--
		close(t.begun)
	}
}
