//go:build linux

package attribution

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// fill begins readings of a party until it has to wait, and returns how many.
func fill(t *testing.T, a *admission, p workload.Party) (n int) {
	t.Helper()
	for {
		ticket, err := a.take(p)
		if err != nil {
			return n
		}
		if ticket != nil {
			a.withdraw(ticket)
			return n
		}
		n++
	}
}

// TestNewcomersFindRoom: security.md 31. Parties take what they get and give
// nothing back.
func TestNewcomersFindRoom(t *testing.T) {
	a := newAdmission()
	if n := fill(t, a, workload.UserParty(1)); n != 4 {
		t.Errorf("the first party gets %d", n)
	}
	// A container's root takes on any number of users: the container has a bound.
	total := 0
	for uid := range uint32(1000) {
		total += fill(t, a, workload.ProcessParty(1, uid, 0))
	}
	if total > part(maxReadings, placePart) {
		t.Errorf("one container gets %d of %d", total, maxReadings)
	}
	for uid := range uint32(20) {
		if n := fill(t, a, workload.UserParty(100+uid)); n == 0 {
			t.Errorf("party %d of those that hold on finds no room", uid)
		}
	}
	if a.held > maxReadings {
		t.Errorf("%d readings", a.held)
	}
}

func TestOneUserOfAUnitLeavesTheOthersRoom(t *testing.T) {
	a := newAdmission()
	first := fill(t, a, workload.ProcessParty(2, 1, 0))
	second := fill(t, a, workload.ProcessParty(2, 2, 0))
	if first == 0 || second == 0 {
		t.Errorf("got %d and %d", first, second)
	}
}

func TestWhoWaitsIsLetInInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission()
		p := workload.UserParty(1)
		held := fill(t, a, p)
		order := make(chan int, 3)
		for n := range 3 {
			go func() {
				if err := a.enter(t.Context(), p); err != nil {
					t.Error(err)
				}
				order <- n
			}()
			synctest.Wait()
		}
		for n := range 3 {
			a.leave(p)
			if got := <-order; got != n {
				t.Errorf("%d came before %d", got, n)
			}
		}
		for range held {
			a.leave(p)
		}
		mustBeEmpty(t, a)
	})
}

func mustBeEmpty(t *testing.T, a *admission) {
	t.Helper()
	if a.held != 0 || len(a.parties) != 0 || len(a.places) != 0 || len(a.queue) != 0 {
		t.Errorf("left: %d held, %d parties, %d places, %d waiting", a.held, len(a.parties), len(a.places), len(a.queue))
	}
}

// TestPatience: a party whose readings end is waited for as long as the caller
// likes, one whose readings do not is refused, then at once.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission()
		p := workload.UserParty(1)
		held := fill(t, a, p)
		began := time.Now()
		done := make(chan error)
		go func() { done <- a.enter(t.Context(), p) }()
		if err := <-done; !errors.Is(err, ErrBusy) || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if err := a.enter(t.Context(), p); !errors.Is(err, ErrBusy) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// One ends and another begins: there is progress again.
		a.leave(p)
		if err := a.enter(t.Context(), p); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		if err := a.enter(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		for range held {
			a.leave(p)
		}
		mustBeEmpty(t, a)
	})
}

func TestWaitingIsBounded(t *testing.T) {
	a := newAdmission()
	p := workload.UserParty(1)
	fill(t, a, p)
	for n := range maxWaiting {
		if ticket, err := a.take(p); ticket == nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if _, err := a.take(p); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if _, err := a.take(workload.UserParty(2)); err != nil {
		t.Errorf("another party: %v", err)
	}
}

// TestAdmissionKeepsCount has many come, give up and go at the same time.
func TestAdmissionKeepsCount(t *testing.T) {
	a := newAdmission()
	var held atomic.Int64
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 0))
			p := workload.ProcessParty(uint64(n%2), uint32(n%7), 0)
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(4000))*time.Microsecond)
				if err := a.enter(ctx, p); err == nil {
					if held.Add(1) > maxReadings {
						t.Error("too many")
					}
					time.Sleep(time.Duration(r.IntN(100)) * time.Microsecond)
					held.Add(-1)
					a.leave(p)
				}
				cancel()
			}
		})
	}
	all.Wait()
	mustBeEmpty(t, a)
}
