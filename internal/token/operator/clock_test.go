package operator

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

func TestClockAheadAndBehind(t *testing.T) {
	for _, offset := range []time.Duration{
		0, 30 * time.Second, -30 * time.Second, 10 * time.Minute, -10 * time.Minute, 23 * time.Hour, -23 * time.Hour,
	} {
		t.Run(offset.String(), func(t *testing.T) {
			a := startAuthority(t)
			a.offset = offset
			c := newClient(t, configure(t, a))
			before := time.Now()
			tok := fetch(t, c)
			after := time.Now() // however long that took
			if issued := tok.Expires().Add(-time.Hour); issued.Before(before.Add(-3*time.Second)) || issued.After(after.Add(3*time.Second)) {
				t.Errorf("by this host's clock issued at %v, asked for between %v and %v", issued, before, after)
			}
			wantRegistrations := 1
			if offset.Abs() > time.Minute {
				wantRegistrations = 2 // refused for time, and once more
			}
			if n := a.count(registerPath); n != wantRegistrations {
				t.Errorf("registered %d times, want %d", n, wantRegistrations)
			}
			if n := a.count(idTokenPath); n != 1 {
				t.Errorf("asked for the token %d times; the clock was known by then", n)
			}
		})
	}
}

func TestClockSetWhileRunning(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	for _, offset := range []time.Duration{time.Hour, -time.Hour, 0} {
		a.set(func() { a.offset = offset })
		fetch(t, c)
	}
	if n := a.count(idTokenPath); n != 7 {
		t.Errorf("asked %d times, want 1 + 3 × 2", n)
	}
}

func TestClockTooFarOff(t *testing.T) {
	a := startAuthority(t)
	a.offset = 40 * 24 * time.Hour
	config := configure(t, a)
	c := newClient(t, config)
	_, err := c.Fetch(t.Context(), request)
	var clocks *ClockError
	if !errors.As(err, &clocks) {
		t.Fatalf("error %v, want one about the clocks", err)
	}
	for _, clock := range []time.Time{time.Now(), a.now()} {
		if day := clock.UTC().Format("2006-01-02T"); !strings.Contains(err.Error(), day) {
			t.Errorf("error %q does not name the clock that says %s", err, day)
		}
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("tried %d times", n)
	}
}

func TestRefusalThatIsNotTheClocksFault(t *testing.T) {
	a := startAuthority(t)
	a.offset = time.Hour
	c := newClient(t, configure(t, a))
	fetch(t, c)
	a.set(func() { clear(a.workloads); a.offset = 2 * time.Hour })
	before := a.count(idTokenPath)
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, "this host's clock says", "the authority's")
	if n := a.count(idTokenPath) - before; n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

func TestNoDate(t *testing.T) {
	a := startAuthority(t)
	a.noDate = true
	fetch(t, newClient(t, configure(t, a)))
}

func TestClockLearns(t *testing.T) {
	start := time.Now()
	now := start
	c := &clock{now: func() time.Time { return now }}
	remote := func(offset time.Duration) time.Time { return now.Add(offset).Round(0).Truncate(time.Second) }
	near := func(got, want time.Duration) bool { return (got - want).Abs() <= time.Second }

	if wrong, err := c.learn(remote(time.Second), now, now); err != nil || !near(wrong, time.Second) {
		t.Errorf("learnt %v, %v", wrong, err)
	}
	if got := c.authority(); !got.Equal(now) {
		t.Errorf("corrected by %v for what a Date cannot tell", got.Sub(now))
	}
	if wrong, err := c.learn(remote(time.Hour), now, now); err != nil || !near(wrong, time.Hour) {
		t.Errorf("learnt %v, %v", wrong, err)
	}
	for range 10 {
		now = now.Add(time.Duration(rand.Int64N(int64(time.Hour))))
		if got := c.authority().Sub(now.Round(0)); !near(got, time.Hour) {
			t.Errorf("an hour ahead became %v", got)
		}
		if got := c.translate(now.Round(0).Add(time.Hour+time.Minute), now).Sub(now); !near(got, time.Minute) {
			t.Errorf("a minute from now became %v", got)
		}
	}
	// Somebody sets this host's clock right: the monotonic reading says what time
	// it is there, and the next answer ends the correction.
	now = now.Round(0).Add(time.Hour)
	if _, err := c.learn(remote(0), now, now); err != nil {
		t.Error(err)
	}
	if got := c.authority(); !got.Equal(now) {
		t.Errorf("still corrected by %v", got.Sub(now))
	}
	if _, err := c.learn(remote(maxCorrection+time.Minute), now, now); !isClockError(err) {
		t.Errorf("learnt a day and more: %v", err)
	}
	if got := c.authority(); !got.Equal(now) {
		t.Errorf("corrected by %v", got.Sub(now))
	}
}
