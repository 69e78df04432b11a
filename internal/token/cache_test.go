package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// issuer is a source whose moods the tests set. Its tokens are numbered.
type issuer struct {
	mu    sync.Mutex
	life  time.Duration
	delay time.Duration
	err   error
	calls []call
}

type call struct {
	at      time.Time
	request Request
}

func newIssuer() *issuer { return &issuer{life: time.Hour} }

func (s *issuer) set(change func(*issuer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *issuer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (s *issuer) Form() Form { return Opaque }

func (s *issuer) Fetch(ctx context.Context, r Request) (Token, error) {
	s.mu.Lock()
	s.calls = append(s.calls, call{time.Now(), r})
	n, life, delay, err := len(s.calls), s.life, s.delay, s.err
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return Token{}, ctx.Err()
		case <-time.After(delay):
		}
	}
	if err != nil {
		return Token{}, err
	}
	now := time.Now()
	return New(fmt.Sprintf("value-%d", n), fmt.Sprintf("jwt1:%d", n), now, now.Add(life))
}

// observations collects what an Observer is told.
type observations struct {
	mu   sync.Mutex
	list []Obtaining
}

func (o *observations) Obtained(one Obtaining) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, one)
}

var ledger = Request{Identity: "billing", Audience: "https://ledger.internal"}

// inBubble runs the test with a cache whose clock is the bubble's, one source for
// the identity billing, and jitter in the middle.
func inBubble(t *testing.T, config CacheConfig, test func(t *testing.T, c *Cache, s *issuer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if config.Random == nil {
			config.Random = func() float64 { return 0.5 }
		}
		c, s := NewCache(config), newIssuer()
		c.Update(map[string]Source{"billing": s})
		defer c.Close()
		test(t, c, s)
	})
}

func mustGet(t *testing.T, c *Cache, r Request, wantID string) Token {
	t.Helper()
	tok, err := c.Get(t.Context(), r)
	if err != nil || tok.ID() != wantID {
		t.Fatalf("Get(%v) = token %q, error %v; want token %q", r, tok.ID(), err, wantID)
	}
	return tok
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestGetObtainsOnce(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.delay = time.Second
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if tok, err := c.Get(t.Context(), ledger); err != nil || tok.ID() != "jwt1:1" {
					t.Errorf("Get = token %q, error %v", tok.ID(), err)
				}
			})
		}
		group.Wait()
		mustGet(t, c, ledger, "jwt1:1")
		if s.count() != 1 {
			t.Errorf("%d calls of the source, want 1", s.count())
		}
	})
}

func TestKeysNeverShareATokens(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		requests := []Request{
			{Identity: "billing"}, {Identity: "billing", Audience: "a"},
			{Identity: "billing", Subject: "pod-1", Audience: "a"}, {Identity: "billing", Subject: "pod-2", Audience: "a"},
		}
		for i, r := range requests {
			mustGet(t, c, r, fmt.Sprintf("jwt1:%d", i+1))
			if s.calls[i].request != r {
				t.Errorf("source was asked for %v, want %v", s.calls[i].request, r)
			}
		}
	})
}

func TestFirstFailureIsRemembered(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.err = &RefusedError{Message: "ticket is deactivated"}
		for range 1000 {
			_, err := c.Get(t.Context(), ledger)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Message != "ticket is deactivated" {
				t.Fatalf("error %v, want the refusal", err)
			}
		}
		if s.count() != 1 {
			t.Errorf("a storm of requests called the source %d times, want 1", s.count())
		}
		sleep(firstBackOff)
		if s.count() != 1 {
			t.Error("asked again without a request")
		}
		s.set(func(s *issuer) { s.err = nil })
		mustGet(t, c, ledger, "jwt1:2")
	})
}

func TestGetEndsWithItsContext(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.delay = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Get(ctx, ledger); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
		sleep(10 * time.Second)
		mustGet(t, c, ledger, "jwt1:1") // the attempt went on
	})
}

func TestHangingSource(t *testing.T) {
	inBubble(t, CacheConfig{FetchTimeout: 3 * time.Second}, func(t *testing.T, c *Cache, s *issuer) {
		s.delay = time.Hour
		before := time.Now()
		_, err := c.Get(t.Context(), ledger)
		if !errors.Is(err, ErrUnreachable) || time.Since(before) != 3*time.Second {
			t.Errorf("after %v: %v; want unreachable after 3s", time.Since(before), err)
		}
	})
}

// brokenSource hands out what no source should.
type brokenSource struct{ token Token }

func (s *brokenSource) Form() Form { return Opaque }

func (s *brokenSource) Fetch(context.Context, Request) (Token, error) { return s.token, nil }

func TestUselessTokensAreRefused(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, _ *issuer) {
		expired, err := New("v", "", time.Now().Add(-time.Hour), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.Update(map[string]Source{"empty": &brokenSource{}, "expired": &brokenSource{expired}})
		for _, identity := range []string{"empty", "expired"} {
			if tok, err := c.Get(t.Context(), Request{Identity: identity}); err == nil || !tok.IsZero() {
				t.Errorf("%s: error %v, zero %v", identity, err, tok.IsZero())
			}
		}
	})
}

func TestWallClockExpiry(t *testing.T) {
	// A host that slept: the wall clock went on, the monotonic one did not.
	now := time.Now()
	tok, err := New("v", "", now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	e := newEntry(ledger, nil, nil)
	e.held.Store(&held{token: tok, expires: now.Add(-time.Second).UnixNano()})
	if _, ok := e.token(now); ok {
		t.Error("valid although the wall clock is past its end")
	}
	e.held.Store(&held{token: tok, expires: tok.expires.UnixNano()})
	if _, ok := e.token(now); !ok {
		t.Error("not valid although both clocks say so")
	}
	if _, ok := e.token(now.Add(time.Hour)); ok {
		t.Error("valid at the moment when it expires")
	}
}

func TestObserver(t *testing.T) {
	seen := &observations{}
	inBubble(t, CacheConfig{Observer: seen}, func(t *testing.T, c *Cache, s *issuer) {
		s.delay, s.err = time.Second, ErrNotEnrolled
		start := time.Now()
		_, _ = c.Get(t.Context(), ledger)
		sleep(time.Minute)
		s.set(func(s *issuer) { s.err = nil })
		tok := mustGet(t, c, ledger, "jwt1:2")

		if len(seen.list) != 2 {
			t.Fatalf("%d observations, want 2", len(seen.list))
		}
		failed, good := seen.list[0], seen.list[1]
		if failed.Request != ledger || !errors.Is(failed.Err, ErrNotEnrolled) || failed.TokenID != "" || !failed.Expires.IsZero() ||
			!failed.Start.Equal(start) || !failed.End.Equal(start.Add(time.Second)) {
			t.Errorf("failed attempt observed as %+v", failed)
		}
		if good.Err != nil || good.TokenID != "jwt1:2" || !good.Expires.Equal(tok.Expires()) || good.End.Sub(good.Start) != time.Second {
			t.Errorf("good attempt observed as %+v", good)
		}
		if text := fmt.Sprintf("%+v", seen.list); strings.Contains(text, tok.Reveal()) {
			t.Errorf("observation holds the token: %s", text)
		}
	})
}

func TestWarmGetDoesNotAllocate(t *testing.T) {
	c, s := NewCache(CacheConfig{}), newIssuer()
	defer c.Close()
	c.Update(map[string]Source{"billing": s})
	mustGet(t, c, ledger, "jwt1:1")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.Get(ctx, ledger); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a warm Get allocates %v times", n)
	}
}

func TestWarmGetTakesNoLock(t *testing.T) {
	c, s := NewCache(CacheConfig{}), newIssuer()
	c.Update(map[string]Source{"billing": s})
	mustGet(t, c, ledger, "jwt1:1")
	e := (*c.entries.Load())[ledger]
	c.mu.Lock()
	e.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tok, _ := c.Get(t.Context(), ledger)
		c.Rejected(ledger, tok)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("a warm Get, or Rejected, waits for a lock")
	}
	e.mu.Unlock()
	c.mu.Unlock()
	c.Close()
}

func BenchmarkWarmGet(b *testing.B) {
	c, s := NewCache(CacheConfig{}), newIssuer()
	defer c.Close()
	c.Update(map[string]Source{"billing": s})
	ctx := b.Context()
	if _, err := c.Get(ctx, ledger); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Get(ctx, ledger); err != nil {
				b.Error(err)
			}
		}
	})
}
