package authority

import (
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func TestSourceLimits(t *testing.T) {
	l := newSourceLimiter(1, 2)
	now := startTime
	take := func(peer string, want time.Duration) {
		t.Helper()
		if got := l.take(plainAddr(netip.MustParseAddrPort(peer).Addr()), now); got != want {
			t.Errorf("%s waits %s, want %s", peer, got, want)
		}
	}
	take("192.0.2.1:1", 0)
	take("192.0.2.1:2", 0)
	take("192.0.2.1:3", time.Second)
	take("192.0.2.1:4", time.Second) // refused requests cost nothing
	take("[::ffff:192.0.2.1]:4", time.Second)
	take("192.0.2.2:1", 0)
	take("[2001:db8::1]:1", 0)
	take("[2001:db8::2]:1", 0)
	take("[2001:db8::3%eth0]:1", time.Second)
	take("[2001:db8:0:1::1]:1", 0)
	now = now.Add(time.Second)
	take("192.0.2.1:5", 0)
	take("192.0.2.1:5", time.Second)
}

func TestSourcesAreBounded(t *testing.T) {
	l := newSourceLimiter(1, 1)
	l.take(netip.MustParseAddr("192.0.2.1"), startTime)
	for i := range 2 * maxSources {
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), startTime)
	}
	if len(l.known) != maxSources || l.recent.Len() != maxSources {
		t.Errorf("%d known, %d listed", len(l.known), l.recent.Len())
	}
	if wait := l.take(netip.MustParseAddr("192.0.2.1"), startTime); wait != 0 {
		t.Error("the quiet one was not forgotten")
	}
}

func TestTooManyRequests(t *testing.T) {
	f := start(t, func(c *Config) { c.RatePerSecond, c.RateBurst = 0.5, 3 })
	for range 3 {
		if got := f.send("GET", jwksPath, "", nil); got.status != 200 {
			t.Fatalf("status %d", got.status)
		}
	}
	got := f.send("GET", jwksPath, "", nil)
	got.refused(t, 429)
	seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
	if err != nil || seconds < 2 {
		t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
	}
	if got := f.send("GET", "/healthz", "", nil); got.status != 200 {
		t.Errorf("health is limited: %d", got.status)
	}
	f.clock.Advance(time.Duration(seconds) * time.Second)
	if got := f.send("GET", jwksPath, "", nil); got.status != 200 {
		t.Errorf("after Retry-After: %d", got.status)
	}
}
