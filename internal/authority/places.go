package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxListingsOfOne is how many listings one administrator may have asked for at once.
	maxListingsOfOne = 8
	maxListings      = 64
	listingRetry     = 500 * time.Millisecond
	// maxCostlyReads is how many reads of many rows run at once: workloads need
	// connections to the database too, of which there are four.
	maxCostlyReads = 2
)

// Why there is no place.
var (
	errTooManyOfOne = errors.New("one has too many places")
	errTooMany      = errors.New("there are too few places")
)

// places are so many, and of one key no more than its share. They are safe for concurrent
// use.
type places struct {
	all, ofOne int

	mu    sync.Mutex // guards what follows
	taken int
	by    map[string]int // places taken by a key; it is forgotten at 0
}

func newPlaces(all, ofOne int) *places {
	return &places{all: all, ofOne: ofOne, by: make(map[string]int)}
}

// enter takes a place, which leave gives back, or returns errTooManyOfOne or errTooMany.
func (p *places) enter(key string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.by[key] >= p.ofOne:
		return errTooManyOfOne
	case p.taken >= p.all:
		return errTooMany
	}
	p.taken++
	p.by[key]++
	return nil
}

func (p *places) leave(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[key]--; p.by[key] == 0 {
		delete(p.by, key)
	}
}

// enterListing takes a place for a listing to the administrator, or refuses.
func (a *Authority) enterListing(by string) error {
	if err := a.listings.enter(by); err != nil {
		return a.tooMany(byAdministrator, listingRetry)
	}
	return nil
}

// costly runs a read of many rows when it is its turn.
func costly[T any](a *Authority, ctx context.Context, read func() (T, error)) (T, error) {
	select {
	case a.costlyReads <- struct{}{}:
		defer func() { <-a.costlyReads }()
		return read()
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("wait for a costly read: %w", context.Cause(ctx))
	}
}
