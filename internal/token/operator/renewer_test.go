package operator

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRenewer looks at several workloads: what is due is renewed, whatever is the
// matter with another.
func TestRenewer(t *testing.T) {
	a, other := startAuthority(t), startAuthority(t)
	due, _ := aged(t, a)
	fresh, stranger := newClient(t, configure(t, other)), newClient(t, configure(t, a))
	fetch(t, fresh)
	closed, _ := aged(t, startAuthority(t))
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := Renewer{
		MaxAge: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Clients: func() []*Client { return []*Client{closed, stranger, fresh, due} },
	}
	if failed := r.look(t.Context(), nil); len(failed) != 0 {
		t.Errorf("failed: %v", failed)
	}
	if n, more := a.count(newKeyPath), other.count(newKeyPath); n != 1 || more != 0 {
		t.Errorf("renewed %d keys that are due and %d that are not", n, more)
	}
	if stranger.WorkloadID() != "" || a.count(registerPath) != 1 {
		t.Error("a workload was enrolled for the sake of its key")
	}
	if told := strings.Count(log.String(), "\n"); told != 1 || !strings.Contains(log.String(), "workload="+due.WorkloadID()) {
		t.Errorf("log:\n%s", &log)
	}
}

// TestRenewerTellsAFailureOnce, and again after a success.
func TestRenewerTellsAFailureOnce(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	var log bytes.Buffer
	r := Renewer{MaxAge: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil)), Clients: func() []*Client { return []*Client{c} }}
	var failing map[*Client]bool
	look := func(away bool, warnings int) {
		t.Helper()
		a.set(func() {
			a.answer = nil
			if away {
				a.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true }
			}
		})
		age(t, config)
		failing = r.look(t.Context(), failing)
		if n := strings.Count(log.String(), "level=WARN"); n != warnings {
			t.Errorf("%d warnings, want %d:\n%s", n, warnings, &log)
		}
	}
	look(true, 1)
	look(true, 1)
	look(false, 1)
	a.set(func() { a.answer = nil })
	fetch(t, c) // proves the new key
	look(true, 2)
}

// TestRenewerEnds with its context, and has nothing to do where keys may get old.
func TestRenewerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	Renewer{Clients: func() []*Client { t.Error("looked"); return nil }}.Run(ctx)
	Renewer{MaxAge: time.Hour, Clients: func() []*Client { cancel(); return nil }}.Run(ctx)
}
