package injector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
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

// What is said of an identity's requests at one destination, or for one cause, hides
// nothing of what is said of another one.
func TestWarningsByCauseAndDestination(t *testing.T) {
	payroll := ledger(func(d *workload.Destination) { d.Name, d.Hosts = "payroll", []string{"payroll.internal"} })
	var why atomic.Pointer[error]
	w := newWorld(t, func(w *world, _ *Config) {
		identified := w.policies.Load()
		w.setPolicy(&policy{identity: identified.identity, destinations: append(slices.Clone(identified.destinations), payroll)})
		w.getToken = func(context.Context, token.Request) (token.Token, error) { return token.Token{}, *why.Load() }
	})
	ask := func(host string, cause error, lines int) {
		t.Helper()
		why.Store(&cause)
		for range 3 {
			client := w.client()
			client.send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			w.use(workload.TokenUnavailable)
			client.close()
		}
		if n := strings.Count(w.logged(), `"a request gets no token" identity=billing`); n != lines {
			t.Errorf("after %s, %v: %d lines, want %d:\n%s", host, cause, n, lines, w.logged())
		}
	}
	ask("ledger.internal", token.ErrUnreachable, 1)
	ask("payroll.internal", token.ErrUnreachable, 2)
	ask("ledger.internal", token.ErrNotEnrolled, 3)
	ask("ledger.internal", token.ErrUnreachable, 3)
}

// Bytes above ASCII in a target are passed on as they are, and said where an operator
// looks, within the budget of warnings, if the request carries a token.
func TestTargetAboveASCIIIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	for _, c := range []struct {
		target, host string
		warned       bool
	}{{"/a%C3%BC", "ledger.internal", false}, {"/\u00fc", "elsewhere.internal", false}, {"/a\u00fc?b", "ledger.internal", true}} {
		head := "GET " + c.target + " HTTP/1.1\r\nHost: " + c.host + "\r\n"
		client.send(head + "\r\n")
		if c.host == "ledger.internal" {
			upstream.expect(head + bearer + "\r\n")
		} else {
			upstream.expect(head + "\r\n")
		}
		upstream.send(ok)
		client.expect(ok)
		<-w.uses
		if logged := w.logged(); strings.Contains(logged, "above ASCII") != c.warned || strings.Contains(logged, "\u00fc") {
			t.Errorf("%q at %s: logged %q", c.target, c.host, logged)
		}
	}
}
