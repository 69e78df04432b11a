package resolver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// balanced is a name with many addresses, of which each answer has some by chance.
type balanced struct {
	mu     sync.Mutex
	random *rand.Rand
	all    []netip.Addr
	each   int
	asked  int
	fails  func(asked int) bool // nil for never
}

func newBalanced(all, each int) *balanced {
	b := &balanced{random: rand.New(rand.NewPCG(1, 2)), each: each}
	for i := range all {
		b.all = append(b.all, netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)}))
	}
	return b
}

func (b *balanced) lookup(context.Context, string) ([]netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.fails != nil && b.fails(b.asked) {
		return nil, errors.New("SERVFAIL")
	}
	addrs := make([]netip.Addr, 0, b.each)
	for len(addrs) < b.each {
		if addr := b.all[b.random.IntN(len(b.all))]; !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

func (b *balanced) questions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// inBalancedBubble is inBubble for one name of that kind, which is kept.
func inBalancedBubble(t *testing.T, b *balanced, test func(t *testing.T, r *Resolver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Lookup: b.lookup, Random: func() float64 { return 0.5 }})
		defer r.Close()
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		test(t, r)
	})
}

// A program whose own look-up was answered with another choice of addresses than ours
// gets its token all the same, and soon.
func TestNameWithMoreAddressesThanAnAnswerHas(t *testing.T) {
	b := newBalanced(200, 8)
	inBalancedBubble(t, b, func(t *testing.T, r *Resolver) {
		first, known := b.questions(), len(r.Known()["ledger.internal"])
		if known < 180 || first > 1+secondOpinions+maxQuestions {
			t.Errorf("the first look-up asked %d times and knows %d of 200 addresses", first, known)
		}
		began, refused, slowest := time.Now(), 0, time.Duration(0)
		for _, addr := range b.all {
			one := time.Now()
			if verify(t, r, ledger, "ledger.internal", addr.String()) != nil {
				refused++
			}
			slowest = max(slowest, time.Since(one))
		}
		t.Logf("counts: %d questions, then %d of 200 addresses known; %d refused, %v waited in all, %v at most",
			first, known, refused, time.Since(began), slowest)
		if refused > 0 || slowest > keptPause {
			t.Errorf("%d of 200 addresses refused, %v waited for one", refused, slowest)
		}
		asked := b.questions()
		sleep(10 * keepEvery)
		if n := b.questions() - asked; n > 10*(1+secondOpinions) {
			t.Errorf("%d questions in ten rounds, though all is known", n)
		}
	})
}

// A name without an end does not have us ask without one.
func TestQuestionsAreBounded(t *testing.T) {
	b := newBalanced(60000, 8)
	inBalancedBubble(t, b, func(t *testing.T, r *Resolver) {
		for range 8 {
			asked := b.questions()
			sleep(keepEvery)
			if n := b.questions() - asked; n > maxQuestions+atOnce {
				t.Errorf("%d questions in one round, want %d at most", n, maxQuestions)
			}
		}
		if n := len(r.Known()["ledger.internal"]); n != maxAnswers {
			t.Errorf("%d addresses remembered, want %d", n, maxAnswers)
		}
	})
}

// Who connects where no answer leads does not have us ask on and on.
func TestHuntsAreBounded(t *testing.T) {
	b := newBalanced(20, 8)
	inBalancedBubble(t, b, func(t *testing.T, r *Resolver) {
		asked := b.questions()
		began := time.Now()
		for range 20 {
			if verify(t, r, ledger, "ledger.internal", "10.9.9.9") == nil {
				t.Fatal("verified")
			}
		}
		seconds := int(time.Since(began)/time.Second) + 1
		if n := b.questions() - asked; n > (seconds+1)*(maxHunt+atOnce) {
			t.Errorf("%d questions in %d s", n, seconds)
		}
	})
}

// Only names of destinations are asked for again: nobody else makes us ask often.
func TestOtherNamesAreAskedOnce(t *testing.T) {
	b := newBalanced(200, 8)
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Lookup: b.lookup})
		defer r.Close()
		if _, err := r.addresses(t.Context(), billing, "other.internal"); err != nil || b.questions() != 1 {
			t.Errorf("asked %d times (%v), want once", b.questions(), err)
		}
	})
}

// A second opinion that fails costs nothing of the first.
func TestFailedSecondOpinion(t *testing.T) {
	b := newBalanced(200, 8)
	b.fails = func(asked int) bool { return asked > 1 }
	inBalancedBubble(t, b, func(t *testing.T, r *Resolver) {
		if n := len(r.Known()["ledger.internal"]); n != 8 || b.questions() != 1+secondOpinions {
			t.Errorf("%d addresses known after %d questions", n, b.questions())
		}
	})
}

// Who waits for one address waits no longer than until it was answered.
func TestWaitEndsWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var mu sync.Mutex
		r := New(Config{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
			mu.Lock()
			n++
			own := n
			mu.Unlock()
			if own > 1+secondOpinions {
				<-ctx.Done() // the rest of the look-up takes as long as it may
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.7.0.%d", own))}, nil
		}})
		defer r.Close()
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		began := time.Now()
		if err := verify(t, r, ledger, "ledger.internal", "10.7.0.3"); err != nil || time.Since(began) > 0 {
			t.Errorf("verified after %v: %v", time.Since(began), err)
		}
	})
}
