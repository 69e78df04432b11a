package fairshare

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOnePartyWaitsForItselfOnly: half is what it gets, another party goes on.
func TestOnePartyWaitsForItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter[string](8)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var releases []func()
		for {
			release, err := l.Acquire(ctx, "flood")
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				break
			}
			releases = append(releases, release)
		}
		if len(releases) != 4 {
			t.Errorf("one party got %d of 8", len(releases))
		}
		release, err := l.Acquire(t.Context(), "other")
		if err != nil {
			t.Fatalf("the other party: %v", err)
		}
		release()
		time.AfterFunc(time.Second, releases[0])
		if _, err := l.Acquire(t.Context(), "flood"); err != nil {
			t.Errorf("after one was given back: %v", err)
		}
	})
}

func TestNoMoreAtOnceThanThereArePlaces(t *testing.T) {
	l := NewLimiter[int](6)
	var atOnce, most atomic.Int32
	var tasks sync.WaitGroup
	for i := range 200 {
		tasks.Go(func() {
			release, err := l.Acquire(t.Context(), i%9)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			defer atOnce.Add(-1)
			for n := atOnce.Add(1); ; {
				seen := most.Load()
				if n <= seen || most.CompareAndSwap(seen, n) {
					return
				}
			}
		})
	}
	tasks.Wait()
	if most.Load() > 6 || l.pool.Free() != 6 {
		t.Errorf("%d at once, %d free afterwards", most.Load(), l.pool.Free())
	}
}

// TestNestedLimiterLeavesOthersRoom: the parties of one place wait for each other.
func TestNestedLimiterLeavesOthersRoom(t *testing.T) {
	l := NewNestedLimiter[int, seat](16)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	got := 0
	for party := range seat(100) {
		for {
			if _, err := l.Acquire(over, party); err != nil {
				break
			}
			got++
		}
	}
	if got != 8 {
		t.Errorf("the parties of one place got %d of 16", got)
	}
	release, err := l.Acquire(over, 100)
	if err != nil {
		t.Fatalf("another place: %v", err)
	}
	release()
}
