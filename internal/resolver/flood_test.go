package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// wild is a destination with a wildcard, below which clients think of any name.
var wild = &workload.Destination{
	Name: "wild", Hosts: []string{"*.wild.test", "ledger.internal"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
}

var deadEnd = netip.MustParseAddrPort("10.9.9.9:80")

// flood asks for other addresses of so many names at once, and waits for the answers.
func flood(ctx context.Context, r *Resolver, by string, names int) {
	var askers sync.WaitGroup
	for n := range names {
		askers.Go(func() { _, _ = r.Alternatives(ctx, by, wild, fmt.Sprintf("n%d-%s.wild.test", n, by), deadEnd) })
	}
	askers.Wait()
}

// silentFlood answers for kept names and for one other, and for none that floods name.
func silentFlood(z *zone) {
	z.set("other.wild.test", "10.1.0.1", "10.1.0.2")
	z.silent = func(host string) bool { return host != "ledger.internal" && host != "other.wild.test" }
}

// TestFloodOfNames: whatever number of names one identity thinks of, kept names are
// looked up as often as ever, another identity's at once, and little waits.
func TestFloodOfNames(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		asked, goroutines, rounds := z.count("ledger.internal"), runtime.NumGoroutine(), 0
		for begin := time.Now(); time.Since(begin) < 2*keepEvery; rounds++ {
			done := make(chan struct{})
			go func() { defer close(done); flood(t.Context(), r, "flood", 10_000/20) }()
			synctest.Wait()
			if more := runtime.NumGoroutine() - goroutines; more > 100 { // 32 look-ups, those who wait for them, and the test
				t.Fatalf("%d goroutines because of one identity's names", more)
			}
			before := time.Now()
			got, err := r.Alternatives(t.Context(), "other", wild, "other.wild.test", deadEnd)
			if err != nil || len(got) != 2 || time.Since(before) > 0 {
				t.Fatalf("another identity's failover: %v, %v, after %v", got, err, time.Since(before))
			}
			<-done
			sleep(time.Second)
		}
		if rounds < 20 {
			t.Errorf("%d names only", rounds*500)
		}
		if n := z.count("ledger.internal") - asked; n < 2 || len(r.Known()["ledger.internal"]) == 0 {
			t.Errorf("a kept name was looked up %d times in two intervals, known %v", n, r.Known())
		}
	})
}

// TestKeptNamesDoNotWaitForOthers: not even for as many as there may be.
func TestKeptNamesDoNotWaitForOthers(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		for n := range 100 {
			go flood(t.Context(), r, fmt.Sprint("identity", n), 10)
		}
		synctest.Wait()
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		if z.count("ledger.internal") != 1+secondOpinions || len(r.Known()) != 1 {
			t.Errorf("a kept name was looked up %d times, known %v", z.count("ledger.internal"), r.Known())
		}
		sleep(longestWait)
	})
}

// TestNobodyHasNothingLookedUp: a caller without identity fails over to what is known,
// and neither its names nor the operator's are looked up, or remembered, because of it.
func TestNobodyHasNothingLookedUp(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		r.Keep([]string{"ledger.internal"})
		sleep(keepEvery - time.Second)
		asked := z.count("ledger.internal")
		flood(t.Context(), r, "", 10_000)
		if _, err := r.Alternatives(t.Context(), "", wild, "n.wild.test", deadEnd); !errors.Is(err, errNobody) {
			t.Errorf("a name that is not known: %v", err)
		}
		if err := r.verify(t.Context(), nobody, ledger, "ledger.internal", deadEnd); err == nil {
			t.Error("verified")
		}
		got, err := r.Alternatives(t.Context(), "", wild, "ledger.internal", deadEnd)
		if err != nil || len(got) != 1 {
			t.Errorf("a kept name's other addresses: %v, %v", got, err)
		}
		if len(z.asked) != 1 || z.count("ledger.internal") != asked || len(*r.names.Load()) != 1 {
			t.Errorf("%d names looked up, the kept one %d times more, %d remembered", len(z.asked), z.count("ledger.internal")-asked, len(*r.names.Load()))
		}
	})
}

// fill has one identity take every slot and place that it may have.
func fill(t *testing.T, r *Resolver) {
	go flood(t.Context(), r, "billing", maxWaiting)
	synctest.Wait()
}

func TestNoRoom(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		fill(t, r)
		before, remembered := time.Now(), len(*r.names.Load())
		_, err := r.addresses(t.Context(), billing, "other.wild.test")
		if !errors.Is(err, errBusy) || time.Since(before) > 0 || len(*r.names.Load()) != remembered {
			t.Errorf("%v after %v, %d names remembered more", err, time.Since(before), len(*r.names.Load())-remembered)
		}
		sleep(longestWait)
		if _, err := r.addresses(t.Context(), identity("other"), "other.wild.test"); err != nil {
			t.Error(err)
		}
		sleep(lookupTimeout)
		if free := r.places.Free(); free != maxWaiting {
			t.Errorf("%d places are free in the end, want %d", free, maxWaiting)
		}
	})
}

// TestAbandonedLookUpIsNotMade: whose askers are gone before it has a slot.
func TestAbandonedLookUpIsNotMade(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		fill(t, r)
		sleep(10 * lookupTimeout)
		if n := len(z.asked); n > maxLookups/2 {
			t.Errorf("%d names looked up, %d of which nobody waited for", n, n-maxLookups/2)
		}
		if _, err := r.addresses(t.Context(), billing, "other.wild.test"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestOneAskerOfTwoLeaves: the other one still gets its answer.
func TestOneAskerOfTwoLeaves(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		go flood(t.Context(), r, "billing", maxLookups)
		sleep(lookupTimeout - time.Second)
		stays := make(chan error)
		go func() {
			_, err := r.addresses(t.Context(), billing, "other.wild.test")
			stays <- err
		}()
		leaves, leave := context.WithCancel(t.Context())
		go func() { _, _ = r.addresses(leaves, billing, "other.wild.test") }()
		synctest.Wait()
		leave()
		if err := <-stays; err != nil || z.count("other.wild.test") != 1 {
			t.Errorf("%v, %d look-ups", err, z.count("other.wild.test"))
		}
	})
}

// TestNameIsKeptWhileItWaits: it goes on in the slots of kept names, and who asked
// before is answered too.
func TestNameIsKeptWhileItWaits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		go flood(t.Context(), r, "billing", maxLookups)
		synctest.Wait()
		var err error
		done := make(chan struct{})
		go func() { defer close(done); _, err = r.addresses(t.Context(), billing, "other.wild.test") }()
		synctest.Wait()
		if n := z.count("other.wild.test"); n != 0 {
			t.Fatalf("%d look-ups before it had a slot", n)
		}
		before := time.Now()
		r.Keep([]string{"other.wild.test"})
		<-done
		synctest.Wait()
		if err != nil || time.Since(before) > 0 || len(r.Known()) != 1 {
			t.Errorf("%v after %v, known %v", err, time.Since(before), r.Known())
		}
		sleep(longestWait)
	})
}

// TestCloseEndsWhatWaits too.
func TestCloseEndsWhatWaits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		silentFlood(z)
		fill(t, r)
		r.Close()
		if free := r.places.Free(); free != maxWaiting {
			t.Errorf("%d look-ups left", maxWaiting-free)
		}
	})
}
