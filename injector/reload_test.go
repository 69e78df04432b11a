package injector

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// hashed is a policy whose identity is found by the digest of the executable.
type hashed struct{ policy }

func (h *hashed) Identify(p *workload.Process) (*workload.Identity, error) {
	if p.SHA256 == "" {
		return nil, nil
	}
	return h.identity, nil
}

type policyFunc func() Policy

func (f policyFunc) Current() Policy { return f() }

// A reload can ask for facts that nobody wanted when a connection was made: the
// connection's next request is decided with them.
func TestReloadAsksForNewFacts(t *testing.T) {
	before := &policy{identity: billing, destinations: []*workload.Destination{ledger()}}
	after := &hashed{*before}
	var reloaded atomic.Bool
	var attributed atomic.Int32
	w := newWorld(t, func(w *world, cfg *Config) {
		w.attribute = func(context.Context) (*workload.Process, error) {
			attributed.Add(1)
			p := &workload.Process{Image: image, Executable: "/usr/local/bin/billing"}
			if reloaded.Load() {
				p.SHA256 = "ab12"
			}
			return p, nil
		}
		cfg.Policies = policyFunc(func() Policy {
			if reloaded.Load() {
				return after
			}
			return before
		})
	})
	client, upstream := w.pair()
	for range 2 {
		for range 2 {
			client.send("GET / HTTP/1.1\r\nHost: ledger.internal\r\n\r\n")
			upstream.expect("GET / HTTP/1.1\r\nHost: ledger.internal\r\nAuthorization: Bearer " + theToken + "\r\n\r\n")
			upstream.send("HTTP/1.1 204 No Content\r\n\r\n")
			client.expect("HTTP/1.1 204 No Content\r\n\r\n")
			w.use(workload.Injected)
		}
		reloaded.Store(true)
	}
	if n := attributed.Load(); n != 2 {
		t.Errorf("attributed %d times, want once for each policy", n)
	}
	client.close()
	upstream.close()
}
