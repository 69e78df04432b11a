package operator

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// TestAuthorityAway is the client under its cache while the authority comes and
// goes. The clock is the test's; nothing waits for real time.
func TestAuthorityAway(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	start := time.Now()
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	pass := func(d time.Duration) {
		passed.Add(int64(d))
		a.set(func() { a.offset += d })
	}
	config.Now = now
	c := newClient(t, config)
	cache := token.NewCache(token.CacheConfig{Now: now})
	defer cache.Close()
	cache.Update(map[string]token.Source{"billing": c})

	a.stop() // away at start
	_, err := cache.Get(t.Context(), request)
	wantError(t, err, token.ErrUnreachable, a.address)

	a.start()
	pass(time.Minute)
	first, err := cache.Get(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config.TicketFile); err != nil {
		t.Fatal(err)
	}

	a.stop() // away while a token is held
	pass(time.Until(first.Expires()) - time.Until(now()) - time.Second)
	held, err := cache.Get(t.Context(), request)
	if err != nil || held.ID() != first.ID() {
		t.Fatalf("token %q, error %v; want the held one", held.ID(), err)
	}
	pass(2 * time.Second) // past expiry
	if _, err = cache.Get(t.Context(), request); !errors.Is(err, token.ErrUnreachable) {
		t.Fatalf("error %v, want unreachable", err)
	}

	a.start() // back again
	pass(time.Minute)
	second, err := cache.Get(t.Context(), request)
	if err != nil || second.ID() == first.ID() {
		t.Fatalf("token %q, error %v; want a new one", second.ID(), err)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
}
