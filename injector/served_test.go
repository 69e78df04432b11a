package injector

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// served is a destination that says who serves it.
func served(d *workload.Destination) {
	by, err := workload.NewSelector(workload.SelectorSpec{Cgroups: []string{"/system.slice/ledger.service"}}, nil)
	if err != nil {
		panic(err)
	}
	d.ServedBy = by
}

// Who serves the far end is asked before every token, of the connection that the
// token would go over; a destination that does not say it is never asked about.
func TestServedBy(t *testing.T) {
	var asked atomic.Int32
	var taken atomic.Bool
	w := newWorld(t, with(ledger(served)), func(w *world, _ *Config) {
		w.servedBy = func(local, remote netip.AddrPort) error {
			asked.Add(1)
			if w.back.Addr().String() == local.String() || !local.Addr().IsLoopback() || remote != original {
				t.Errorf("asked about %v to %v", local, remote)
			}
			if taken.Load() {
				return errors.New("somebody else has the port now")
			}
			return nil
		}
	})
	client, upstream := w.pair()
	exchange := func(forwarded string, outcome workload.Outcome) {
		t.Helper()
		client.send(get + "\r\n")
		upstream.expect(forwarded + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(outcome)
	}
	exchange(get+bearer, workload.Injected)
	taken.Store(true)
	exchange(get, workload.DestinationUnverified)
	taken.Store(false)
	exchange(get+bearer, workload.Injected)
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times for 3 requests", n)
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(w.logged(), "somebody else has the port now") })
}

// What gets no token anyway is not asked about; nor does it help an address that
// is not the destination's.
func TestServedByComesLast(t *testing.T) {
	for name, world := range map[string]func(*world, *Config){
		"unverified": both(with(ledger(served)), unverified),
		"observed":   with(ledger(served, observe)),
		"not listed": with(ledger(served, foreign)),
		"not said":   func(*world, *Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, world) // whose ServedBy is an error
			client, upstream := w.pair()
			client.send(get + "\r\n")
			upstream.expect(get)
			upstream.send(ok)
			client.expect(ok)
			if u := <-w.uses; u.Reason != nil && strings.Contains(u.Reason.Error(), "asked without a reason") {
				t.Errorf("outcome %s: %v", u.Outcome, u.Reason)
			}
		})
	}
}
