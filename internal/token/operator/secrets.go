package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

const (
	// secretFresh is how long a secret is served from memory without a question.
	secretFresh = 5 * time.Minute
	// secretKept is how long it is served where the authority does not answer.
	secretKept = time.Hour
	// maxSecrets bounds the memory.
	maxSecrets = 256
)

// secrets remembers what was read. One read of an id is under way at a time: who
// asks meanwhile gets its outcome.
type secrets struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*secretEntry
}

// secretEntry is one id's. Its turn is held, by sending, to read it.
type secretEntry struct {
	turn chan struct{}

	// under secrets.mu:
	secret Secret
	read   time.Time // zero as long as there is none
}

func newSecrets(now func() time.Time) *secrets {
	return &secrets{now: now, entries: map[string]*secretEntry{}}
}

// get returns the secret from memory, or reads it.
func (s *secrets) get(ctx context.Context, id string, refresh bool, read func(context.Context, string) (Secret, error)) (Secret, error) {
	asked := s.now()
	if kept, ok := s.kept(id, secretFresh); ok && !refresh {
		return kept, nil
	}
	e := s.entry(id)
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return Secret{}, fmt.Errorf("wait for secret %s: %w", id, ctx.Err())
	}
	// Read by somebody else after we asked: that is what we asked for.
	if kept, ok := s.kept(id, s.now().Sub(asked)); ok {
		return kept, nil
	}
	secret, err := read(ctx, id)
	if err == nil {
		s.keep(id, e, secret)
		return secret, nil
	}
	if !errors.Is(err, token.ErrUnreachable) {
		s.forget(id) // refused or gone: the authority's word ends what is in memory
		return Secret{}, err
	}
	if kept, ok := s.kept(id, secretKept); ok && !refresh {
		return kept, nil
	}
	return Secret{}, err
}

// kept returns the secret if it was read no longer ago than that and is valid.
func (s *secrets) kept(id string, age time.Duration) (Secret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	now := s.now()
	if e == nil || e.read.IsZero() || now.Sub(e.read) > age {
		return Secret{}, false
	}
	if expires := e.secret.ExpiresAt; !expires.IsZero() && !now.Before(expires) {
		return Secret{}, false
	}
	return e.secret, true
}

// entry returns the id's entry, which may push out the oldest.
func (s *secrets) entry(id string) *secretEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[id]; e != nil {
		return e
	}
	e := &secretEntry{turn: make(chan struct{}, 1)}
	if len(s.entries) >= maxSecrets {
		s.dropOldest()
	}
	s.entries[id] = e
	return e
}

// dropOldest drops the entry that was read longest ago, or never.
func (s *secrets) dropOldest() {
	oldest := ""
	for id, e := range s.entries {
		if oldest == "" || e.read.Before(s.entries[oldest].read) {
			oldest = id
		}
	}
	delete(s.entries, oldest)
}

func (s *secrets) keep(id string, e *secretEntry, secret Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[id] == e {
		e.secret, e.read = secret, s.now()
	}
}

func (s *secrets) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, id)
}
