package token

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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

// TestBusySourceIsLeftAlone for as long as it wants, and the token that is held is
// served meanwhile; who has none is told at once.
func TestBusySourceIsLeftAlone(t *testing.T) {
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		mustGet(t, c, ledger, "jwt1:1")
		sleep(47 * time.Minute)
		until := time.Now().Add(6 * time.Minute)
		s.set(func(s *issuer) {
			s.err = fmt.Errorf("fetch: %w", &BusyError{Until: until, Err: fmt.Errorf("%w: slow down", ErrUnreachable)})
		})
		sleep(90 * time.Second)
		if s.count() != 2 {
			t.Fatalf("%d calls, want a renewal", s.count())
		}
		for time.Until(until) > 0 {
			mustGet(t, c, ledger, "jwt1:1")
			sleep(5 * time.Second)
			if n := s.count(); n != 2 {
				t.Fatalf("asked again %v early", time.Until(until))
			}
		}
		s.set(func(s *issuer) { s.err = nil })
		sleep(time.Second)
		mustGet(t, c, ledger, "jwt1:3")
	})
	inBubble(t, CacheConfig{}, func(t *testing.T, c *Cache, s *issuer) {
		until := time.Now().Add(time.Minute)
		s.set(func(s *issuer) { s.err = &BusyError{Until: until, Err: ErrUnreachable} })
		for time.Until(until) > 0 {
			before := time.Now()
			var busy *BusyError
			if _, err := c.Get(t.Context(), ledger); !errors.As(err, &busy) || !busy.Until.Equal(until) || time.Since(before) != 0 {
				t.Fatalf("after %v: %v", time.Since(before), err)
			}
			sleep(5 * time.Second)
		}
		if n := s.count(); n != 1 {
			t.Errorf("%d calls, want one", n)
		}
		s.set(func(s *issuer) { s.err = nil })
		sleep(time.Second)
		mustGet(t, c, ledger, "jwt1:2")
	})
}
