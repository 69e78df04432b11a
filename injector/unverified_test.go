package injector

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Without verification there is no token and no refusal, whatever on_failure and
// existing_authorization say.
func TestUnverifiedWhateverTheRuleSays(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: ledger.internal\r\n" + own + "\r\n"
	for name, change := range map[string][]func(*workload.Destination){
		"closed": nil, "open": {open}, "refuse": {refuse}, "refuse, open": {refuse, open}, "keep, open": {keep, open},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, with(ledger(change...)), unverified)
			client, upstream := w.pair()
			client.send(request)
			upstream.expect(request)
			upstream.send(ok)
			client.expect(ok)
			want := workload.DestinationUnverified
			if name == "keep, open" {
				want = workload.Untouched // its own credential stays in any case
			}
			if u := w.use(want); u.TokenID != "" {
				t.Errorf("record %+v", u)
			}
		})
	}
}

// Each request of a connection is verified: what the first one proved is good for
// nothing when the answers for the name have changed, or for another name.
func TestEachRequestIsVerified(t *testing.T) {
	var moved atomic.Bool
	w := newWorld(t, func(w *world, _ *Config) {
		w.verify = func(string, netip.AddrPort) error {
			if moved.Load() {
				return errors.New("the name has another address now")
			}
			return nil
		}
	})
	client, upstream := w.pair()
	exchange := func(request, forwarded string, outcome workload.Outcome) {
		t.Helper()
		client.send(request + "\r\n")
		upstream.expect(forwarded + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(outcome)
	}
	const elsewhere = "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n"
	exchange(get, get+bearer, workload.Injected)
	exchange(elsewhere, elsewhere, workload.NoDestination)
	moved.Store(true)
	exchange(get, get, workload.DestinationUnverified)
	moved.Store(false)
	exchange(get, get+bearer, workload.Injected)
}
