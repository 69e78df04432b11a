package resolver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// zone is what the fake look-up answers, and counts.
type zone struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	delay   time.Duration
	silent  func(host string) bool // names that are not answered for, until ctx ends; nil for none
	err     error
	asked   map[string]int
	running int
	most    int // look-ups at once
}

func (z *zone) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	z.asked[host]++
	z.running++
	z.most = max(z.most, z.running)
	delay, silent := z.delay, z.silent != nil && z.silent(host)
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		z.running--
		z.mu.Unlock()
	}()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if delay > 0 { // several timers that are due at once crash Go 1.26's race detector in a bubble
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.err != nil {
		return nil, z.err
	}
	return z.answers[host], nil
}

func (z *zone) set(host string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answers[host] = parse(addrs...)
}

func (z *zone) count(host string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[host]
}

func parse(texts ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}

func newZone() *zone {
	z := &zone{answers: map[string][]netip.Addr{}, asked: map[string]int{}}
	z.set("ledger.internal", "10.0.0.7")
	return z
}

// inBubble runs the test with a resolver over a fake zone and the bubble's clock.
func inBubble(t *testing.T, config Config, test func(t *testing.T, r *Resolver, z *zone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		z := newZone()
		config.Lookup = z.lookup
		config.Random = func() float64 { return 0.5 }
		r := New(config)
		defer r.Close()
		test(t, r, z)
	})
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var billing = identity("billing")

var ledger = &workload.Destination{Name: "ledger", Hosts: []string{"ledger.internal"}, Ports: []uint16{80}}

func verify(t *testing.T, r *Resolver, d *workload.Destination, host, addr string) error {
	t.Helper()
	return r.Verify(t.Context(), d, host, netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
}

func TestAddresses(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.set("ledger.internal", "2001:db8::7", "10.0.0.9", "::ffff:10.0.0.7", "10.0.0.9")
		want := parse("2001:db8::7", "10.0.0.9", "10.0.0.7")
		get := func(host string, want []netip.Addr) {
			t.Helper()
			if got, err := r.addresses(t.Context(), billing, host); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s has %v, %v; want %v", host, got, err, want)
			}
		}
		get("ledger.internal", want)
		sleep(keepEvery / 2)
		get("Ledger.Internal.", want)
		if n := z.count("ledger.internal"); n != 1 {
			t.Errorf("%d look-ups for a fresh answer", n)
		}
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.9"); err != nil || z.count("ledger.internal") != 1 {
			t.Errorf("does not share its memory with Verify: %v", err)
		}
		sleep(keepEvery / 2)
		z.set("ledger.internal", "10.0.0.1")
		get("ledger.internal", parse("10.0.0.1"))
		z.err = errors.New("SERVFAIL")
		sleep(Memory - time.Second)
		get("ledger.internal", parse("10.0.0.1"))
		sleep(2 * time.Second)
		if got, err := r.addresses(t.Context(), billing, "ledger.internal"); !errors.Is(err, z.err) {
			t.Errorf("ten minutes later: %v, %v", got, err)
		}
		get("192.0.2.1", parse("192.0.2.1"))
		get("2001:db8::1", parse("2001:db8::1"))
		for _, host := range []string{"", ".", "a..b", "a b", "a\r\nb", "a/b", "ä", strings.Repeat("a", 254), "a:80"} {
			if _, err := r.addresses(t.Context(), billing, host); !errors.Is(err, errNotAName) || z.count(host) != 0 {
				t.Errorf("%q: %v", host, err)
			}
		}
		z.err = nil
		if _, err := r.addresses(t.Context(), billing, "nothing.internal"); !errors.Is(err, errNoAnswer) {
			t.Errorf("empty answer: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.delay = time.Hour
		done := make(chan error, 1)
		go func() { done <- verify(t, r, ledger, "ledger.internal", "10.0.0.7") }()
		synctest.Wait()
		r.Close()
		if err := <-done; err == nil {
			t.Error("verified")
		}
		r.Keep([]string{"other.internal"})
		if _, err := r.addresses(t.Context(), billing, "other.internal"); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
		r.Close()
	})
}

// TestOwnResolver asks this host's real resolver for the one name that needs no
// network (RFC 6761 section 6.3).
func TestOwnResolver(t *testing.T) {
	r := New(Config{})
	defer r.Close()
	addrs, err := r.addresses(t.Context(), billing, "localhost")
	if err != nil || !slices.ContainsFunc(addrs, netip.Addr.IsLoopback) {
		t.Errorf("localhost has %v, %v", addrs, err)
	}
}
