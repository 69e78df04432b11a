//go:build linux

package attribution

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// slowHash takes a second for each write.
type slowHash struct {
	hash.Hash
	writes *int
}

func (s slowHash) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	*s.writes++
	return len(p), nil
}

// TestPartiesAreHashedInTurn: security.md 31. How long a file takes depends on its
// own size, not on how much another party has under way.
func TestPartiesAreHashedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher()
		h.slots = 1
		ctx, cancel := context.WithCancel(t.Context())
		var strangers sync.WaitGroup
		for range 20 {
			strangers.Go(func() {
				if _, err := h.copy(ctx, slowHash{writes: new(int)}, zeros{}, maxExecutable, workload.UserParty(1)); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		const buffers = 10
		began, writes := time.Now(), 0
		n, err := h.copy(ctx, slowHash{writes: &writes}, io.LimitReader(zeros{}, buffers*hashBuffer), buffers*hashBuffer, workload.UserParty(2))
		if err != nil || n != buffers*hashBuffer || writes != buffers {
			t.Errorf("%d bytes in %d writes, %v", n, writes, err)
		}
		if took := time.Since(began); took > 2*buffers*time.Second {
			t.Errorf("%d buffers of a second took %v", buffers, took)
		}
		cancel()
		strangers.Wait()
		if h.slots != 1 || len(h.queue) != 0 || len(h.users) != 0 || len(h.lastly) != 0 {
			t.Errorf("left: %d slots, %d waiting, %v, %v", h.slots, len(h.queue), h.users, h.lastly)
		}
	})
}

// TestReaderThatHangsHoldsNoSlot: a file below an overlay of the host's may be on
// a file system that stops answering.
func TestReaderThatHangsHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher()
		h.slots = 1
		hung, answer := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := h.copy(t.Context(), sha256.New(), hung, 5, workload.UserParty(1))
			done <- err
		}()
		synctest.Wait()
		if _, err := h.copy(t.Context(), sha256.New(), bytes.NewReader(nil), 0, workload.UserParty(2)); err != nil {
			t.Error(err)
		}
		if n, err := h.copy(t.Context(), sha256.New(), bytes.NewReader(make([]byte, 3*hashBuffer)), 3*hashBuffer, workload.UserParty(2)); err != nil || n != 3*hashBuffer {
			t.Errorf("%d, %v", n, err)
		}
		failure := errors.New("gone")
		answer.CloseWithError(failure)
		if err := <-done; !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
	})
}

// TestBytesHaveAnAllowance: security.md 31, per party and per group.
func TestBytesHaveAnAllowance(t *testing.T) {
	h := newHasher()
	now := time.Unix(0, 0)
	h.now = func() time.Time { return now }
	h.limit()
	charge := func(p workload.Party, bytes int64) error {
		err := h.charge(p, bytes)
		if err == nil {
			h.leave(p)
		}
		return err
	}
	one := workload.ProcessParty(3, 1, 0)
	if err := charge(one, maxExecutable); err != nil {
		t.Fatal(err)
	}
	if err := charge(one, 1); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if err := charge(workload.ProcessParty(4, 1, 0), maxExecutable); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	// The group's bound holds whatever users there are.
	total := int64(maxExecutable)
	for uid := range uint32(1000) {
		if charge(workload.ProcessParty(3, 2+uid, 0), 100<<20) == nil {
			total += 100 << 20
		}
	}
	if most := int64(ofPlace*hashBurst + 100<<20); total > most {
		t.Errorf("%d bytes of one place, of %d", total, most)
	}
	now = now.Add((maxExecutable - hashBurst) / hashRate * time.Second)
	if err := charge(one, 1); !errors.Is(err, ErrBusy) {
		t.Errorf("a moment too early: %v", err)
	}
	now = now.Add(time.Minute)
	if err := charge(one, 1); err != nil {
		t.Errorf("later: %v", err)
	}
	unbounded := newHasher()
	for range 10 {
		if err := unbounded.charge(one, maxExecutable); err != nil {
			t.Errorf("without allowances: %v", err)
		}
	}
}

func TestAllowancesAreBounded(t *testing.T) {
	a := newAllowances[workload.Party](1, 10)
	now := time.Unix(0, 0)
	spender := workload.ProcessParty(5, 1, 0)
	a.take(spender, 1000, now)
	for uid := range uint32(3 * maxAllowances) {
		a.take(workload.UserParty(uid), 5, now)
		if len(a.spent) > maxAllowances {
			t.Fatalf("%d are remembered", len(a.spent))
		}
	}
	if a.wait(spender, now) == 0 {
		t.Error("who spent the most was forgotten")
	}
}

// TestAnotherPartysRefusalIsNotOurs: who waits for a digest that another party may
// not have made, has it made.
func TestAnotherPartysRefusalIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, theirs := range []error{busy(workload.UserParty(1)), context.DeadlineExceeded} {
			f, err := os.Open("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			v, err := versionOf(f)
			if err != nil {
				t.Fatal(err)
			}
			d := newDigests()
			h, first, _ := d.join(v)
			if !first {
				t.Fatal("somebody was first")
			}
			done := make(chan error)
			go func() {
				digest, err := d.get(t.Context(), f, v, workload.UserParty(2))
				if digest == "" && err == nil {
					err = errors.New("no digest")
				}
				done <- err
			}()
			synctest.Wait()
			h.err = theirs
			d.land(v, h, workload.UserParty(1))
			if err := <-done; err != nil {
				t.Errorf("after %v: %v", theirs, err)
			}
		}
	})
}
