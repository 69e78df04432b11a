package injector

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// A stranger that causes warning after warning fills no log, and hides nothing of
// what is said about others: another user, or an identity, whatever its user.
func TestNoCallerSilencesWarningsAboutAnother(t *testing.T) {
	var known atomic.Bool
	w := newWorld(t, unverified, func(w *world, _ *Config) {
		attribute := w.attribute
		w.attribute = func(ctx context.Context) (*workload.Process, error) {
			if !known.Load() {
				return nil, errors.New("it has exited")
			}
			return attribute(ctx)
		}
	})
	call := func(uid uint32) {
		t.Helper()
		w.uid.Store(uid)
		client, upstream := w.pair()
		client.send(get + "\r\n")
		upstream.expect(get + "\r\n")
		client.close()
		upstream.expectEnd()
		upstream.close()
		<-w.uses
	}
	count := func(of string, want int) {
		t.Helper()
		if n := strings.Count(w.logged(), of); n != want {
			t.Errorf("%d lines with %q, want %d:\n%s", n, of, want, w.logged())
		}
	}
	const unknown, without = "who made a connection is not known", "it goes on without a token"
	for range 50 {
		call(1000)
	}
	count(unknown, 1)
	call(1001)
	count(unknown, 2)
	known.Store(true)
	identified := w.policies.Load()
	w.setPolicy(&policy{err: tie, destinations: identified.destinations})
	for range 20 {
		call(1000) // of no single identity, and unverified
	}
	count(without, 1)
	w.setPolicy(identified)
	call(1000)
	call(1000)
	count(without, 2)
	count(unknown, 2)
}
