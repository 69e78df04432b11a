package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailedKeysAreForgotten(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.err = ErrUnreachable
		_, _ = c.Get(t.Context(), ledger)
		sleep(90 * time.Second)
		_, _ = c.Get(t.Context(), ledger)
		sleep(time.Minute)
		if s.count() != 2 {
			t.Errorf("%d calls for two requests; nobody else should have asked", s.count())
		}
		sleep(forgetFailed + time.Minute)
		if n := len(*c.entries.Load()); n != 0 {
			t.Errorf("%d keys held, want 0", n)
		}
	})
}

func TestUnusedKeysAreDropped(t *testing.T) {
	inBubble(t, CacheConfig{IdleAfter: time.Hour}, func(t *testing.T, c *Cache, s *issuer) {
		mustGet(t, c, ledger, "jwt1:1")
		for range 10 { // in use: renewed
			sleep(30 * time.Minute)
			if _, err := c.Get(t.Context(), ledger); err != nil {
				t.Fatal(err)
			}
		}
		renewed := s.count()
		if renewed < 5 {
			t.Fatalf("renewed %d times in 5 h of use", renewed-1)
		}
		sleep(24 * time.Hour)
		if extra := s.count() - renewed; extra > 2 {
			t.Errorf("renewed %d times after the last use", extra)
		}
		if n := len(*c.entries.Load()); n != 0 {
			t.Errorf("%d keys held a day after the last use", n)
		}
		mustGet(t, c, ledger, fmt.Sprintf("jwt1:%d", s.count()+1))
	})
}

func TestSizeIsBounded(t *testing.T) {
	inBubble(t, CacheConfig{MaxKeys: 6}, func(t *testing.T, c *Cache, s *issuer) {
		key := func(n int) Request { return Request{Identity: "billing", Audience: fmt.Sprint(n)} }
		for n := range 3 {
			mustGet(t, c, key(n), fmt.Sprintf("jwt1:%d", n+1))
			sleep(time.Minute)
		}
		mustGet(t, c, key(0), "jwt1:1")
		mustGet(t, c, key(3), "jwt1:4") // takes the place of key 1, unused for longest
		synctest.Wait()
		if n := len(*c.entries.Load()); n != 3 {
			t.Fatalf("%d keys held, want 3", n)
		}
		mustGet(t, c, key(0), "jwt1:1")
		mustGet(t, c, key(2), "jwt1:3")
		mustGet(t, c, key(1), "jwt1:5")
	})
}

// TestOneIdentityLeavesTheOthersTheirTokens: security.md 31. Whoever asks the local API for
// any number of audiences pushes out its own, whatever becomes of them.
func TestOneIdentityLeavesTheOthersTheirTokens(t *testing.T) {
	inBubble(t, CacheConfig{MaxKeys: 40}, func(t *testing.T, c *Cache, s *issuer) {
		c.Update(map[string]Source{"billing": s, "greedy": s, "slow": s})
		get := func(identity string, audience int) error {
			_, err := c.Get(t.Context(), Request{Identity: identity, Audience: fmt.Sprint(audience)})
			return err
		}
		held := func(identity string) int {
			synctest.Wait()
			return count(*c.entries.Load(), identity)
		}
		for n := range 5 {
			if err := get("billing", n); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Minute)
		for n := range 500 {
			if err := get("greedy", n); err != nil {
				t.Fatal(err)
			}
		}
		if n := held("billing"); n != 5 {
			t.Errorf("%d of 5 tokens are left, unused for longest as they are", n)
		}
		if n := held("greedy"); n < 17 || n > 18 {
			t.Errorf("an identity holds %d tokens, want half of the 35 that were free", n)
		}
		for n := range 13 {
			if err := get("billing", n); err != nil {
				t.Error(err)
			}
		}
		for n := range 500 {
			if err := get("greedy", n); err != nil {
				t.Fatal(err)
			}
		}
		if n := held("billing"); n != 13 {
			t.Errorf("%d of 13 tokens are left, fewer than an equal share", n)
		}
		if n := len(*c.entries.Load()); n > 40 {
			t.Errorf("%d are held", n)
		}
		s.set(func(s *issuer) { s.delay = time.Second })
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for n := range 100 {
			group.Go(func() { _, _ = c.Get(ctx, Request{Identity: "slow", Audience: fmt.Sprint(n)}) })
		}
		synctest.Wait()
		if err := get("billing", 0); err != nil {
			t.Errorf("while many are being obtained for another: %v", err)
		}
		if err := get("billing", 99); err != nil {
			t.Errorf("a new one while many are being obtained for another: %v", err)
		}
		cancel()
		group.Wait()
	})
}

// TestKeysBeingObtainedAreNotEvicted: who waits for one would come back at once
// and evict another, without end.
func TestKeysBeingObtainedAreNotEvicted(t *testing.T) {
	inBubble(t, CacheConfig{MaxKeys: 4}, func(t *testing.T, c *Cache, s *issuer) {
		key := func(n int) Request { return Request{Identity: "billing", Audience: fmt.Sprint(n)} }
		mustGet(t, c, key(0), "jwt1:1")
		s.set(func(s *issuer) { s.delay = time.Second })
		var group sync.WaitGroup
		for n := range 2 { // the second takes the place of key 0
			group.Go(func() {
				if _, err := c.Get(t.Context(), key(n+1)); err != nil {
					t.Errorf("key %d: %v", n+1, err)
				}
			})
		}
		synctest.Wait()
		if _, err := c.Get(t.Context(), key(3)); err == nil || !strings.Contains(err.Error(), "2 tokens are held or being obtained") {
			t.Errorf("a third one: %v", err)
		}
		group.Wait()
		if n := s.count(); n != 3 {
			t.Errorf("%d calls of the source, want 3", n)
		}
		mustGet(t, c, key(3), "jwt1:4")
	})
}

func TestUpdateKeepsUnchangedIdentities(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		other := newIssuer()
		c.Update(map[string]Source{"billing": s, "report": other, "gone": other})
		mustGet(t, c, ledger, "jwt1:1")
		report, gone := Request{Identity: "report"}, Request{Identity: "gone"}
		mustGet(t, c, report, "jwt1:1")
		mustGet(t, c, gone, "jwt1:2")

		replacement := newIssuer()
		replacement.calls = make([]call, 10)
		c.Update(map[string]Source{"billing": s, "report": replacement})
		mustGet(t, c, ledger, "jwt1:1")
		mustGet(t, c, report, "jwt1:11")
		if _, err := c.Get(t.Context(), gone); !errors.Is(err, ErrNoSource) {
			t.Errorf("error %v, want no source", err)
		}
		calls := other.count()
		sleep(time.Hour)
		if other.count() != calls {
			t.Error("a source that was replaced is still asked")
		}
	})
}

func TestUpdateMovesWaitersToTheNewSource(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.delay = time.Hour
		got := make(chan Token, 1)
		go func() {
			tok, err := c.Get(t.Context(), ledger)
			if err != nil {
				t.Error(err)
			}
			got <- tok
		}()
		synctest.Wait()
		replacement := newIssuer()
		replacement.calls = make([]call, 10)
		c.Update(map[string]Source{"billing": replacement})
		if tok := <-got; tok.ID() != "jwt1:11" {
			t.Errorf("token %q, want the new source's", tok.ID())
		}
	})
}

// stubborn is a source whose calls end when it is told so, whoever gave up.
type stubborn struct {
	issuer
	release chan struct{}
	ended   atomic.Int64
}

func (s *stubborn) Fetch(ctx context.Context, r Request) (Token, error) {
	t, err := s.issuer.Fetch(ctx, r)
	if s.count() > 1 {
		<-s.release
	}
	s.ended.Add(1)
	return t, err
}

// TestUpdateWaitsForCallsOfEvictedKeys: they are calls of the dropped source too.
func TestUpdateWaitsForCallsOfEvictedKeys(t *testing.T) {
	inBubble(t, CacheConfig{MaxKeys: 1}, func(t *testing.T, c *Cache, other *issuer) {
		s := &stubborn{issuer: issuer{life: time.Hour}, release: make(chan struct{})}
		c.Update(map[string]Source{"billing": s, "report": other})
		sleep(time.Second)
		c.Rejected(ledger, mustGet(t, c, ledger, "jwt1:1"))
		synctest.Wait() // the renewal is under way
		mustGet(t, c, Request{Identity: "report"}, "jwt1:1")
		updated := make(chan struct{})
		go func() {
			c.Update(map[string]Source{"report": other})
			close(updated)
		}()
		synctest.Wait()
		select {
		case <-updated:
			t.Error("Update returned while the dropped source was being called")
		default:
		}
		close(s.release)
		<-updated
		if s.ended.Load() != 2 {
			t.Errorf("%d calls ended, want 2", s.ended.Load())
		}
		mustGet(t, c, Request{Identity: "report"}, "jwt1:1")
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		mustGet(t, c, ledger, "jwt1:1")
		s.set(func(s *issuer) { s.delay = time.Hour })
		waiter := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), Request{Identity: "billing", Audience: "slow"})
			waiter <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-waiter; !errors.Is(err, ErrClosed) {
			t.Errorf("a waiter got %v", err)
		}
		if _, err := c.Get(t.Context(), ledger); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after Close: %v", err)
		}
		c.Update(map[string]Source{"billing": s})
		c.Close()
	})
}
