package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	delay := z.delay
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		z.running--
		z.mu.Unlock()
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
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

var ledger = &workload.Destination{Name: "ledger", Hosts: []string{"ledger.internal"}, Ports: []uint16{80}}

func verify(t *testing.T, r *Resolver, d *workload.Destination, host, addr string) error {
	t.Helper()
	return r.Verify(t.Context(), d, host, netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
}

func TestVerify(t *testing.T) {
	everything := &workload.Destination{
		Name:      "everything",
		Hosts:     []string{"ledger.internal", "*.wild.internal", "192.0.2.9", "2001:db8::9", "127.0.0.9", "odd.internal"},
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("127.0.0.5/32")},
	}
	cases := []struct {
		host, addr string
		want       Reason // or "" if verified
	}{
		{"ledger.internal", "10.0.0.7", ""},
		{"ledger.internal", "::ffff:10.0.0.7", ""},
		{"LEDGER.internal.", "10.0.0.7", ""},
		{"ledger.internal", "10.0.0.8", ReasonUnknown},
		{"ledger.internal", "198.51.100.200", ""}, // configured
		{"ledger.internal", "2001:db8:1::5", ""},
		{"ledger.internal", "::ffff:198.51.100.1", ""},
		{"ledger.internal", "127.0.0.5", ""},
		{"ledger.internal", "198.51.101.1", ReasonUnknown},

		{"a.wild.internal", "198.51.100.1", ""},
		{"a.wild.internal", "10.0.0.7", ReasonWildcard},
		{"a.b.wild.internal", "10.0.0.7", ReasonWildcard},
		{"wild.internal", "10.0.0.7", ReasonForeign},
		{"other.internal", "10.0.0.7", ReasonForeign},
		{"notledger.internal", "10.0.0.7", ReasonForeign},
		{"", "10.0.0.7", ReasonForeign},

		{"192.0.2.9", "192.0.2.9", ""},
		{"192.0.2.9", "::ffff:192.0.2.9", ""},
		{"192.0.2.9", "192.0.2.10", ReasonLiteral},
		{"2001:db8::9", "2001:db8::9", ""},
		{"127.0.0.9", "127.0.0.9", ""}, // configured
		{"192.0.2.10", "192.0.2.10", ReasonForeign},

		// Whatever DNS says, these are no destination.
		{"odd.internal", "127.0.0.1", ReasonSpecial},
		{"odd.internal", "127.8.8.8", ReasonSpecial},
		{"odd.internal", "::1", ReasonSpecial},
		{"odd.internal", "::ffff:127.0.0.1", ReasonSpecial},
		{"odd.internal", "169.254.169.254", ReasonSpecial},
		{"odd.internal", "fe80::1", ReasonSpecial},
		{"odd.internal", "fe80::1%eth0", ReasonSpecial},
		{"odd.internal", "0.0.0.0", ReasonSpecial},
		{"odd.internal", "0.1.2.3", ReasonSpecial},
		{"odd.internal", "::", ReasonSpecial},
		{"odd.internal", "224.0.0.1", ReasonSpecial},
		{"odd.internal", "ff02::1", ReasonSpecial},
		{"odd.internal", "255.255.255.255", ReasonSpecial},
		{"odd.internal", "10.9.9.9", ""}, // the same answer's good address
	}
	for _, k := range cases {
		t.Run(k.host+" "+k.addr, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
				z.set("odd.internal", "127.0.0.1", "127.8.8.8", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "0.1.2.3",
					"::", "224.0.0.1", "ff02::1", "255.255.255.255", "10.9.9.9")
				z.set("192.0.2.10", "192.0.2.10")
				z.set("a.wild.internal", "10.0.0.7")
				if err := verify(t, r, everything, "odd.internal", "10.9.9.9"); err != nil {
					t.Error(err) // from here on the whole answer is remembered
				}
				for range 2 { // unknown, then known
					err := verify(t, r, everything, k.host, k.addr)
					var refusal *NotVerifiedError
					switch {
					case k.want == "" && err != nil:
						t.Errorf("not verified: %v", err)
					case k.want != "" && (!errors.As(err, &refusal) || refusal.Reason != k.want):
						t.Errorf("error %v, want reason %q", err, k.want)
					}
				}
			})
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.set("ledger.internal", "10.0.0.7", "10.0.0.6")
		err := verify(t, r, ledger, "ledger.internal", "10.9.9.9")
		for _, word := range []string{"10.9.9.9", `"ledger.internal"`, "10.0.0.6, 10.0.0.7", "10m", `destination "ledger"`, "add 10.9.9.9/32"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %s", err, word)
			}
		}
		down := errors.New("SERVFAIL")
		z.err = down
		other := &workload.Destination{Name: "other", Hosts: []string{"other.internal"}}
		err = verify(t, r, other, "other.internal", "10.9.9.9")
		if !errors.Is(err, down) || !strings.Contains(err.Error(), "answered nothing") {
			t.Errorf("error %q does not say that DNS is down", err)
		}
	})
}

func TestOneLookupForAStorm(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.delay = time.Second
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
					t.Error(err)
				}
				if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err == nil {
					t.Error("verified")
				}
			})
		}
		group.Wait()
		if n := z.count("ledger.internal"); n > 2 {
			t.Errorf("%d look-ups", n)
		}
	})
}

func TestMissesAreRateLimited(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		for range 50 {
			if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err == nil {
				t.Fatal("verified")
			}
			sleep(100 * time.Millisecond)
		}
		if n := z.count("ledger.internal"); n != 5 {
			t.Errorf("%d look-ups in 5 s, want 5", n)
		}
	})
}

func TestAnswerChanges(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		z.set("ledger.internal", "10.0.0.8") // under a running client
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err != nil {
			t.Errorf("new address: %v", err)
		}
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
			t.Errorf("the old address, of connections that are open: %v", err)
		}
		sleep(Memory - time.Minute - time.Second)
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
			t.Errorf("the old address after %v: %v", Memory-time.Second, err)
		}
		sleep(time.Second)
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err == nil {
			t.Errorf("the old address verified after %v", Memory)
		}
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err != nil {
			t.Errorf("new address: %v", err)
		}
	})
}

func TestNamesInUseAreRefreshed(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		for range 60 {
			before := time.Now()
			if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(before); waited > 0 && z.count("ledger.internal") > 1 {
				t.Errorf("a known name waited %v", waited)
			}
			z.mu.Lock()
			z.delay = time.Second
			z.mu.Unlock()
			sleep(time.Minute)
		}
		if n := z.count("ledger.internal"); n < 6 || n > 13 {
			t.Errorf("%d look-ups in an hour", n)
		}
	})
}

func TestSlowLookup(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.delay = 3 * time.Second
		before := time.Now()
		err := verify(t, r, ledger, "ledger.internal", "10.0.0.7")
		if err == nil || time.Since(before) != longestWait {
			t.Errorf("error %v after %v", err, time.Since(before))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		before = time.Now()
		err = r.Verify(ctx, ledger, "ledger.internal", netip.MustParseAddrPort("10.0.0.7:80"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(before) != 100*time.Millisecond {
			t.Errorf("error %v after %v", err, time.Since(before))
		}
		sleep(time.Second) // the look-up went on
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
			t.Error(err)
		}
		if n := z.count("ledger.internal"); n != 1 {
			t.Errorf("%d look-ups", n)
		}
	})
}

func TestAddresses(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.set("ledger.internal", "2001:db8::7", "10.0.0.9", "::ffff:10.0.0.7", "10.0.0.9")
		want := parse("2001:db8::7", "10.0.0.9", "10.0.0.7")
		get := func(host string, want []netip.Addr) {
			t.Helper()
			if got, err := r.Addresses(t.Context(), host); err != nil || !slices.Equal(got, want) {
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
		if got, err := r.Addresses(t.Context(), "ledger.internal"); !errors.Is(err, z.err) {
			t.Errorf("ten minutes later: %v, %v", got, err)
		}
		get("192.0.2.1", parse("192.0.2.1"))
		get("2001:db8::1", parse("2001:db8::1"))
		for _, host := range []string{"", ".", "a..b", "a b", "a\r\nb", "a/b", "ä", strings.Repeat("a", 254), "a:80"} {
			if _, err := r.Addresses(t.Context(), host); !errors.Is(err, errNotAName) || z.count(host) != 0 {
				t.Errorf("%q: %v", host, err)
			}
		}
		z.err = nil
		if _, err := r.Addresses(t.Context(), "nothing.internal"); !errors.Is(err, errNoAnswer) {
			t.Errorf("empty answer: %v", err)
		}
	})
}

func TestKeep(t *testing.T) {
	var changes atomic.Int64
	config := Config{OnChange: func() { changes.Add(1) }}
	inBubble(t, config, func(t *testing.T, r *Resolver, z *zone) {
		expect := func(step string, wantChanges int64, want map[string][]netip.Addr) {
			t.Helper()
			synctest.Wait()
			got := r.Known()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: known %v, want %v", step, got, want)
			}
			if n := changes.Load(); n != wantChanges {
				t.Errorf("%s: %d changes, want %d", step, n, wantChanges)
			}
		}
		expect("nothing kept", 0, nil)
		z.set("mixed.internal", "127.0.0.1", "10.1.1.2", "169.254.1.1", "10.1.1.1")
		z.set("local.internal", "127.0.0.1")
		r.Keep([]string{"ledger.internal", "Mixed.Internal.", "local.internal", "*.wild.internal", "127.0.0.9", "gone.internal"})
		synctest.Wait()
		n := changes.Load()
		first := map[string][]netip.Addr{
			"ledger.internal": parse("10.0.0.7"), "mixed.internal": parse("10.1.1.1", "10.1.1.2"), "127.0.0.9": parse("127.0.0.9"),
		}
		if n == 0 {
			t.Error("nobody was told")
		}
		expect("kept", n, first)

		sleep(10 * keepEvery)
		expect("nothing new", n, first)
		if asked := z.count("ledger.internal"); asked != 11 {
			t.Errorf("%d look-ups in ten rounds", asked)
		}

		z.set("ledger.internal", "10.0.0.8")
		sleep(keepEvery)
		both := map[string][]netip.Addr{
			"ledger.internal": parse("10.0.0.7", "10.0.0.8"), "mixed.internal": first["mixed.internal"], "127.0.0.9": first["127.0.0.9"],
		}
		expect("another address", n+1, both)

		sleep(Memory + keepEvery)
		both["ledger.internal"] = parse("10.0.0.8")
		expect("the old one forgotten", n+2, both)

		z.set("ledger.internal", "10.0.0.9") // found on demand, between rounds
		sleep(2 * time.Second)
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.9"); err != nil {
			t.Error(err)
		}
		both["ledger.internal"] = parse("10.0.0.8", "10.0.0.9")
		expect("found on demand", n+3, both)

		r.Keep([]string{"mixed.internal"})
		expect("kept no more", n+4, map[string][]netip.Addr{"mixed.internal": first["mixed.internal"]})
		asked := z.count("ledger.internal")
		sleep(10 * keepEvery)
		if z.count("ledger.internal") != asked {
			t.Error("a name that is not kept any more is still looked up")
		}
	})
}

func TestKeepThroughAnOutage(t *testing.T) {
	var log strings.Builder
	inBubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, r *Resolver, z *zone) {
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		z.mu.Lock()
		z.err = errors.New("SERVFAIL")
		z.mu.Unlock()
		sleep(Memory - time.Second)
		if len(r.Known()) != 1 {
			t.Error("forgot what was answered less than ten minutes ago")
		}
		sleep(keepEvery)
		if len(r.Known()) != 0 {
			t.Error("remembers what was answered more than ten minutes ago")
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		z.mu.Lock()
		z.err = nil
		z.mu.Unlock()
		sleep(keepEvery)
		if len(r.Known()) != 1 || !strings.Contains(log.String(), "resolved again") {
			t.Errorf("did not come back:\n%s", log.String())
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		sleep(time.Minute)
		for n := range maxNames + 10 {
			host := fmt.Sprintf("h%d.example", n)
			z.set(host, "10.0.0.1")
			if _, err := r.Addresses(t.Context(), host); err != nil {
				t.Fatal(err)
			}
		}
		names := *r.names.Load()
		if len(names) != maxNames || names["ledger.internal"] == nil {
			t.Errorf("%d names remembered, the kept one among them: %v", len(names), names["ledger.internal"] != nil)
		}

		for round := range 5 { // a name whose answer is never the same
			var many []string
			for n := range 100 {
				many = append(many, fmt.Sprintf("10.%d.0.%d", round, n))
			}
			z.set("ledger.internal", many...)
			sleep(keepEvery)
		}
		if got := r.Known()["ledger.internal"]; len(got) != maxAnswers || got[0] != netip.MustParseAddr("10.4.0.0") {
			t.Errorf("%d addresses of one name, from %v; want the latest %d", len(got), got[0], maxAnswers)
		}
	})
}

func TestKeptNamesAreNotEvicted(t *testing.T) {
	names := map[string]*name{}
	for minute, host := range []string{"kept", "old", "new"} {
		names[host] = &name{host: host}
		names[host].use(int64(minute))
	}
	names["kept"].kept.Store(true)
	if got := leastUsed(names); got != "old" {
		t.Errorf("evicts %q, want the one unused for longest that is not kept", got)
	}
}

func TestLookupsAtOnceAreBounded(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.delay = time.Second
		var hosts []string
		for n := range maxKept + 10 {
			hosts = append(hosts, fmt.Sprintf("h%d.example", n))
		}
		r.Keep(hosts)
		sleep(20 * time.Second)
		if z.most != maxLookups {
			t.Errorf("%d look-ups at once, want %d", z.most, maxLookups)
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
		if _, err := r.Addresses(t.Context(), "other.internal"); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
		r.Close()
	})
}

func TestKnownNameTakesNoLockAndNoMemory(t *testing.T) {
	z := newZone()
	r := New(Config{Lookup: z.lookup})
	if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
		t.Fatal(err)
	}
	addr, ctx := netip.MustParseAddrPort("10.0.0.7:80"), t.Context()
	n := (*r.names.Load())["ledger.internal"]
	r.mu.Lock()
	n.mu.Lock()
	done := make(chan float64)
	go func() {
		done <- testing.AllocsPerRun(1000, func() {
			if err := r.Verify(ctx, ledger, "ledger.internal", addr); err != nil {
				t.Error(err)
			}
		})
	}()
	select {
	case allocations := <-done:
		if allocations != 0 {
			t.Errorf("%v allocations", allocations)
		}
	case <-time.After(5 * time.Second):
		t.Error("waits for a lock")
	}
	n.mu.Unlock()
	r.mu.Unlock()
	r.Close()
}

// TestOwnResolver asks this host's real resolver for the one name that needs no
// network (RFC 6761 section 6.3).
func TestOwnResolver(t *testing.T) {
	r := New(Config{})
	defer r.Close()
	addrs, err := r.Addresses(t.Context(), "localhost")
	if err != nil || !slices.ContainsFunc(addrs, netip.Addr.IsLoopback) {
		t.Errorf("localhost has %v, %v", addrs, err)
	}
}

func BenchmarkVerifyKnown(b *testing.B) {
	z := newZone()
	r := New(Config{Lookup: z.lookup})
	defer r.Close()
	addr := netip.MustParseAddrPort("10.0.0.7:80")
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := r.Verify(context.Background(), ledger, "ledger.internal", addr); err != nil {
				b.Error(err)
			}
		}
	})
}
