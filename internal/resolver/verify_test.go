package resolver

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

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
		{"LEDGER.internal.", "10.0.0.7", ReasonForeign}, // who asks has normalised it once, and would have found no destination
		{"ledger.internal.", "10.0.0.7", ReasonForeign},
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
		{"a..wild.internal", "198.51.100.1", ReasonForeign},
		{".wild.internal", "198.51.100.1", ReasonForeign},
		{"other.internal", "10.0.0.7", ReasonForeign},
		{"notledger.internal", "10.0.0.7", ReasonForeign},
		{"", "10.0.0.7", ReasonForeign},
		{"other.internal", "198.51.100.1", ReasonForeign}, // configured, but for other hosts

		{"192.0.2.9", "192.0.2.9", ""},
		{"192.0.2.9", "::ffff:192.0.2.9", ""},
		{"::ffff:192.0.2.9", "192.0.2.9", ""},
		{"192.0.2.9", "192.0.2.10", ReasonLiteral},
		{"2001:db8::9", "2001:db8::9", ""},
		{"2001:DB8:0:0::9", "2001:db8::9", ""},
		{"2001:db8::9", "2001:db8::8", ReasonLiteral},
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
		{"odd.internal", "64:ff9b::7f00:1", ReasonSpecial},    // NAT64 of 127.0.0.1
		{"odd.internal", "64:ff9b::a9fe:a9fe", ReasonSpecial}, // NAT64 of 169.254.169.254
		{"odd.internal", "64:ff9b::a09:909", ""},
		{"odd.internal", "2002:7f00:1::1", ReasonSpecial}, // 6to4 of 127.0.0.1
		{"odd.internal", "2002:a9fe:a9fe::", ReasonSpecial},
		{"odd.internal", "2002:c000:204::1", ""},
		{"odd.internal", "::127.0.0.1", ReasonSpecial}, // IPv4-compatible
		{"odd.internal", "10.9.9.9", ""},               // the same answer's good address
	}
	for _, k := range cases {
		t.Run(k.host+" "+k.addr, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
				z.set("odd.internal", "127.0.0.1", "127.8.8.8", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "0.1.2.3",
					"::", "224.0.0.1", "ff02::1", "255.255.255.255", "10.9.9.9", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a09:909",
					"2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:c000:204::1", "::127.0.0.1")
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

// A destination can say that no name server vouches for it.
func TestVerifyByAddressesOnly(t *testing.T) {
	d := &workload.Destination{
		Name: "ledger", Hosts: []string{"ledger.internal", "*.wild.internal", "192.0.2.9"}, Ports: []uint16{80},
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Verify: workload.VerifyByAddresses,
	}
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, _ *zone) {
		for _, k := range []struct {
			host, addr string
			want       Reason
		}{
			{"ledger.internal", "198.51.100.1", ""},
			{"a.wild.internal", "198.51.100.1", ""},
			{"ledger.internal", "10.0.0.7", ReasonConfigured}, // which DNS answers
			{"a.wild.internal", "10.0.0.7", ReasonConfigured},
			{"192.0.2.9", "192.0.2.9", ""},
			{"192.0.2.9", "192.0.2.8", ReasonLiteral},
			{"other.internal", "198.51.100.1", ReasonForeign},
		} {
			err := verify(t, r, d, k.host, k.addr)
			var refusal *NotVerifiedError
			if (err == nil) != (k.want == "") || err != nil && (!errors.As(err, &refusal) || refusal.Reason != k.want) {
				t.Errorf("%s at %s: %v, want reason %q", k.host, k.addr, err, k.want)
			}
		}
	})
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
		begin := time.Now()
		for range 10 {
			var misses sync.WaitGroup
			for range 20 {
				misses.Go(func() {
					if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err == nil {
						t.Error("verified")
					}
				})
			}
			misses.Wait()
		}
		seconds := int(time.Since(begin) / lookupPause)
		if n := z.count("ledger.internal"); n != seconds+1 {
			t.Errorf("%d look-ups in %d s, want one a second", n, seconds)
		}
		if seconds > 10 {
			t.Errorf("200 misses, 20 at once, took %d s", seconds)
		}
	})
}

// A client may connect to an address that its own look-up, a moment after ours,
// was answered with.
func TestMissWaitsForTheNextLookUp(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.7"); err != nil {
			t.Fatal(err)
		}
		z.set("ledger.internal", "10.0.0.8")
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.8"); err != nil {
			t.Errorf("right after a look-up: %v", err)
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

// TestKnows holds that an address is a destination's by what is known, and that asking
// for it has nothing looked up.
func TestKnows(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		d := &workload.Destination{
			Name: "ledger", Hosts: []string{"ledger.internal", "*.ledger.internal", "192.0.2.9"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		}
		z.set("ledger.internal", "10.0.0.7", "127.0.0.1")
		knows := func(addr string) bool { return r.Knows(d, netip.AddrPortFrom(netip.MustParseAddr(addr), 80)) }
		if knows("10.0.0.7") {
			t.Error("an address is known that nobody looked up")
		}
		if err := verify(t, r, d, "ledger.internal", "10.0.0.7"); err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]bool{
			"10.0.0.7": true, "::ffff:10.0.0.7": true, "198.51.100.9": true, "192.0.2.9": true,
			"10.0.0.8": false, "127.0.0.1": false, "192.0.2.10": false, "198.51.101.1": false,
		} {
			if got := knows(addr); got != want {
				t.Errorf("%s: %t", addr, got)
			}
		}
		z.set("ledger.internal", "10.0.0.8")
		time.Sleep(Memory + time.Second)
		if knows("10.0.0.7") {
			t.Error("an address is known for longer than answers count")
		}
	})
}
