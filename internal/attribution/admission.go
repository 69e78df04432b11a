//go:build linux

package attribution

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// ErrBusy says that a process was not looked at because too much that its own
// party caused is under way, or was done lately. It says nothing about the
// process, and passes.
var ErrBusy = errors.New("too much is being found out for the same user and unit or container")

const (
	// maxReadings bounds the processes that are being looked at, and so the threads
	// that a file system can hold by not answering.
	maxReadings = 64
	// placePart and partyPart: a place may have an eighth of the readings that no
	// other place has, and a party a half of those of its place that no other party
	// has. So however many there are, a newcomer finds room, and one that finds
	// itself alone still has four.
	placePart, partyPart = 8, 2
	// maxWaiting bounds the readings of a place that wait for room.
	maxWaiting = 1024
	// patience is how long a party whose readings make no progress counts as busy
	// only; after that, it is refused at once.
	patience = 2 * time.Second
)

// admission lets readings begin, so that each party and each place has a share of
// them that the others cannot use up.
type admission struct {
	patience time.Duration

	mu      sync.Mutex
	held    int
	places  map[workload.Place]*share // each has a reading, or one that waits
	parties map[workload.Party]*share
	queue   []*ticket // oldest first
}

// share is what a party, or a place, has of the readings.
type share struct {
	held, waiting int
	progress      time.Time // when one began or ended last
}

// ticket is a reading that waits for room.
type ticket struct {
	party     workload.Party
	of, place *share
	admitted  chan struct{}
}

func newAdmission() *admission {
	return &admission{patience: patience, places: make(map[workload.Place]*share), parties: make(map[workload.Party]*share)}
}

// enter waits until a party may begin a reading, for as long as its others make
// progress. It returns ErrBusy where they do not, or too many wait already. Whom it
// lets in has to leave.
func (a *admission) enter(ctx context.Context, p workload.Party) error {
	t, err := a.take(p)
	if t == nil {
		return err
	}
	for {
		timer := time.NewTimer(a.patience)
		select {
		case <-t.admitted:
		case <-ctx.Done():
			err = ctx.Err()
		case <-timer.C:
			if !a.stuck(t) {
				continue
			}
			err = busy(p)
		}
		timer.Stop()
		if err == nil || !a.withdraw(t) {
			return nil // it was admitted, if only in the meantime
		}
		return err
	}
}

func busy(p workload.Party) error { return fmt.Errorf("%w: %v", ErrBusy, p) }

// take begins a reading, or else returns a ticket that waits for its beginning.
func (a *admission) take(p workload.Party) (*ticket, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	party, place := a.sharesOf(p)
	barrier := a.barrier(party, place)
	switch {
	case barrier == nil && party.waiting == 0:
		a.begin(party, place)
		return nil, nil
	case place.waiting >= maxWaiting, a.stands(barrier):
		a.drop(p, party, place)
		return nil, busy(p)
	}
	t := &ticket{party: p, of: party, place: place, admitted: make(chan struct{})}
	a.queue = append(a.queue, t)
	party.waiting++
	place.waiting++
	return t, nil
}

// leave ends a reading, and lets in whoever has waited for its room.
func (a *admission) leave(p workload.Party) {
	a.mu.Lock()
	defer a.mu.Unlock()
	party, place := a.sharesOf(p)
	a.held--
	now := time.Now()
	for _, s := range []*share{party, place} {
		s.held--
		s.progress = now
	}
	a.drop(p, party, place)
	a.queue = slices.DeleteFunc(a.queue, func(t *ticket) bool {
		if a.barrier(t.of, t.place) != nil {
			return false
		}
		a.begin(t.of, t.place)
		t.of.waiting--
		t.place.waiting--
		close(t.admitted)
		return true
	})
}

// withdraw gives a ticket up, and reports whether that was in time.
func (a *admission) withdraw(t *ticket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.queue, t)
	if i < 0 {
		return false
	}
	a.queue = slices.Delete(a.queue, i, i+1)
	t.of.waiting--
	t.place.waiting--
	a.drop(t.party, t.of, t.place)
	return true
}

func (a *admission) begin(party, place *share) {
	a.held++
	now := time.Now()
	for _, s := range []*share{party, place} {
		s.held++
		s.progress = now
	}
}

// barrier returns what has no room for one more: the party, its place, or nil if
// neither bars it.
func (a *admission) barrier(party, place *share) *share {
	free := maxReadings - a.held
	most := part(free+place.held, placePart)
	switch {
	case free == 0 || place.held >= most:
		return place
	case party.held >= part(most-place.held+party.held, partyPart):
		return party
	}
	return nil
}

// part is the n-th part of some places, rounded up.
func part(places, n int) int { return (places + n - 1) / n }

// stuck reports whether what bars a ticket has made no progress for as long as
// patience goes.
func (a *admission) stuck(t *ticket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stands(a.barrier(t.of, t.place))
}

func (a *admission) stands(s *share) bool {
	return s != nil && time.Since(s.progress) >= a.patience
}

// sharesOf returns the shares of a party and its place, which it makes where
// there are none. Whoever leaves them without a reading has to drop them.
func (a *admission) sharesOf(p workload.Party) (of, place *share) {
	return shareIn(a.parties, p), shareIn(a.places, p.Place())
}

func shareIn[Of comparable](shares map[Of]*share, p Of) *share {
	s := shares[p]
	if s == nil {
		s = &share{progress: time.Now()}
		shares[p] = s
	}
	return s
}

// drop forgets shares that hold nothing.
func (a *admission) drop(p workload.Party, of, place *share) {
	if of.held+of.waiting == 0 {
		delete(a.parties, p)
	}
	if place.held+place.waiting == 0 {
		delete(a.places, p.Place())
	}
}
