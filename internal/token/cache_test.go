package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

func TestRenewalInTheBackground(t *testing.T) {
	for name, c := range map[string]struct {
		random float64
		at     time.Duration
	}{"middle": {0.5, 48 * time.Minute}, "early": {0, 45 * time.Minute}, "late": {0.999999, 51*time.Minute - time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			config := CacheConfig{Random: func() float64 { return c.random }}
			inBubble(t, config, func(t *testing.T, cache *Cache, s *issuer) {
				s.delay = time.Second
				mustGet(t, cache, ledger, "jwt1:1")
				sleep(c.at - time.Second)
				if s.count() != 1 {
					t.Fatalf("renewed before %v", c.at)
				}
				sleep(1500 * time.Millisecond)
				if s.count() != 2 {
					t.Fatalf("not renewed at %v", c.at)
				}
				before := time.Now()
				mustGet(t, cache, ledger, "jwt1:1") // the renewal is under way; nobody waits for it
				if waited := time.Since(before); waited != 0 {
					t.Errorf("a warm Get waited %v", waited)
				}
				sleep(time.Second)
				mustGet(t, cache, ledger, "jwt1:2")
			})
		})
	}
}

func TestShortLivedTokens(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		s.life = 100 * time.Millisecond // below the least pause between renewals
		mustGet(t, c, ledger, "jwt1:1")
		sleep(500 * time.Millisecond)
		mustGet(t, c, ledger, "jwt1:2") // expired: obtained on the spot
		sleep(10 * time.Second)
		if n := s.count(); n > 13 {
			t.Errorf("%d calls in 10 s; a source of short-lived tokens must not be hammered", n)
		}
	})
}

func TestAuthorityAway(t *testing.T) {
	var log strings.Builder
	config := CacheConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	inBubble(t, config, func(t *testing.T, c *Cache, s *issuer) {
		away := fmt.Errorf("dial 192.0.2.1: %w", ErrUnreachable)
		mustGet(t, c, ledger, "jwt1:1")
		s.set(func(s *issuer) { s.err = away })

		sleep(48*time.Minute + 100*time.Millisecond)
		for range 11 { // until the last second, the old token is served
			mustGet(t, c, ledger, "jwt1:1")
			sleep(time.Minute)
		}
		mustGet(t, c, ledger, "jwt1:1")
		attempts := s.count() - 1
		if attempts < 11*4-2 || attempts > 11*4+8 {
			t.Errorf("%d attempts in 11 minutes, want about one in 15 s", attempts)
		}

		sleep(time.Minute)
		before := time.Now()
		tok, err := c.Get(t.Context(), ledger)
		if !errors.Is(err, ErrUnreachable) || !tok.IsZero() {
			t.Fatalf("after expiry: %v, %v; want unreachable", tok.IsZero(), err)
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("a failing Get waited %v", waited)
		}
		if !strings.Contains(err.Error(), `identity "billing"`) || !strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("error %q does not say for whom, and why", err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings, want 2 (first failure, last attempt before expiry):\n%s", n, log.String())
		}

		s.set(func(s *issuer) { s.err = nil })
		sleep(20 * time.Second) // longer than the longest pause
		n := s.count()
		mustGet(t, c, ledger, fmt.Sprintf("jwt1:%d", n)) // back without a request having asked
		if s.count() != n || !strings.Contains(log.String(), "token renewed again") {
			t.Errorf("recovery was not in the background, or not logged:\n%s", log.String())
		}
	})
}

func TestBackOffGrowsAndIsJittered(t *testing.T) {
	for _, random := range []float64{0, 0.5, 0.999} {
		s := schedule{random: func() float64 { return random }}
		factor := 1 + backOffJitter*(2*random-1)
		want := firstBackOff
		for failures := 1; failures < 100; failures++ {
			got := s.backOff(failures)
			if diff := got - time.Duration(float64(want)*factor); diff.Abs() > time.Microsecond {
				t.Fatalf("pause after %d failures with jitter %v is %v, want %v × %v", failures, random, got, want, factor)
			}
			want = min(2*want, maxBackOff)
		}
	}
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
	inBubble(t, CacheConfig{MaxKeys: 3}, func(t *testing.T, c *Cache, s *issuer) {
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

func TestRejected(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		sleep(time.Second)
		first := mustGet(t, c, ledger, "jwt1:1")
		s.set(func(s *issuer) { s.delay = time.Second })
		for range 100 {
			c.Rejected(ledger, first)
		}
		synctest.Wait()
		mustGet(t, c, ledger, "jwt1:1") // served until there is another
		sleep(2 * time.Second)
		second := mustGet(t, c, ledger, "jwt1:2")

		c.Rejected(ledger, first) // renewed already
		sleep(11 * time.Second)
		c.Rejected(ledger, first)
		sleep(2 * time.Second)
		if s.count() != 2 {
			t.Fatalf("a token renewed already was renewed again")
		}
		c.Rejected(ledger, second)
		sleep(2 * time.Second)
		third := mustGet(t, c, ledger, "jwt1:3")
		sleep(5 * time.Second)
		c.Rejected(ledger, third) // within ten seconds
		sleep(time.Minute)
		mustGet(t, c, ledger, "jwt1:3")
		c.Rejected(Request{Identity: "nobody"}, third)
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
