package operator

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// busy answers with this status and Retry-After.
func busy(status int, after string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		return true
	}
}

func TestRetryAfter(t *testing.T) {
	const ahead = time.Hour // the authority's clock, by which a date is meant
	in := func(d time.Duration) string { return time.Now().Add(ahead + d).UTC().Format(http.TimeFormat) }
	for name, k := range map[string]struct {
		status int
		after  string
		wait   time.Duration // or 0, where nothing is said that could be obeyed
	}{
		"seconds":             {429, "30", 30 * time.Second},
		"overloaded":          {503, "30", 30 * time.Second},
		"date":                {429, in(30 * time.Second), 30 * time.Second},
		"for days":            {429, "86400", maxRetryAfter},
		"for ever":            {429, "2000000000", maxRetryAfter},
		"until a distant day": {429, in(24 * time.Hour), maxRetryAfter},
		"nothing":             {429, "", 0},
		"now":                 {429, "0", 0},
		"less than that":      {429, "-30", 0},
		"a date that is past": {429, in(-time.Hour), 0},
		"no number":           {429, "soon", 0},
		"more than a number":  {429, "99999999999999999999", 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			a.offset = ahead
			c := newClient(t, configure(t, a))
			fetch(t, c)
			a.set(func() { a.answer = busy(k.status, k.after) })
			asked := time.Now()
			_, err := c.Fetch(t.Context(), request)
			wantError(t, err, token.ErrUnreachable, "authority answered")
			var told *token.BusyError
			if !errors.As(err, &told) {
				if k.wait != 0 {
					t.Errorf("error %v says nothing of a wait", err)
				}
				return
			}
			if early := k.wait - told.Until.Sub(asked); early > 2*time.Second || early < -2*time.Second || k.wait == 0 {
				t.Errorf("waits for %v, want %v", told.Until.Sub(asked), k.wait)
			}
		})
	}
}

// TestBusyAuthorityIsLeftAlone, by everything that a workload can ask for.
func TestBusyAuthorityIsLeftAlone(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	start := time.Now()
	var passed atomic.Int64
	config.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	pass := func(d time.Duration) {
		passed.Add(int64(d))
		a.set(func() { a.offset += d })
	}
	c := newClient(t, config)
	requests := func() (n int) {
		a.set(func() { n = len(a.requests) })
		return n
	}
	calls := map[string]func(context.Context) error{
		"token": func(ctx context.Context) error { _, err := c.Fetch(ctx, request); return err },
		"token for another": func(ctx context.Context) error {
			_, err := c.Fetch(ctx, token.Request{Identity: "billing", Audience: "https://another"})
			return err
		},
		"secret": func(ctx context.Context) error { _, err := c.Secret(ctx, "s", true); return err },
		"invite": func(ctx context.Context) error { _, err := c.Invite(ctx, "f"); return err },
		"key":    func(ctx context.Context) error { _, err := c.RenewKey(ctx, 0); return err },
	}
	for _, enrolled := range []bool{false, true} {
		a.set(func() { a.answer = busy(429, "30") })
		wantError(t, calls["token"](t.Context()), token.ErrUnreachable, "429")
		before := requests()
		for name, call := range calls {
			var told *token.BusyError
			if err := call(t.Context()); !errors.As(err, &told) {
				t.Errorf("enrolled %v, %s: %v", enrolled, name, err)
			}
		}
		pass(29 * time.Second)
		wantError(t, calls["token"](t.Context()), token.ErrUnreachable)
		if n := requests() - before; n != 0 {
			t.Errorf("enrolled %v: %d requests before the authority wants any", enrolled, n)
		}
		a.set(func() { a.answer = nil })
		pass(2 * time.Second)
		fetch(t, c)
	}
}
