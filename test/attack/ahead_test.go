//go:build linux

package attack

import (
	"net/netip"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// A stranger that is redirected too learns which source ports the kernel gives out for
// the injector's address, and has half-open connections there first: under the same
// address, the SYN of another is reset, or waits a second or two.
func TestPortsAhead(t *testing.T) {
	w := newWorld(t, nil)
	for _, target := range []netip.AddrPort{ledgerV4, ledgerV6} {
		t.Run(target.String(), func(t *testing.T) { w.tryPortsAhead(t, target) })
	}
}

func (w *world) tryPortsAhead(t *testing.T, target netip.AddrPort) {
	own := w.runAhead(t, target.String(), "-target", target.String())
	if own.Failed+own.Anonymous > 0 || own.Served == 0 {
		t.Errorf("the victim had %+v", own)
	}
	if slowest := time.Duration(own.Slowest); slowest >= time.Second {
		t.Errorf("a connection of the victim's took %v", slowest)
	}
}

// The same at the local API, whose callers are sent to listeners of their own.
func TestPortsAheadAtTheLocalAPI(t *testing.T) {
	w := newWorld(t, nil)
	for _, at := range local {
		t.Run(at, func(t *testing.T) {
			own := w.runAhead(t, at, "-target", ledgerV4.String(), "-local", at, "-rate", "200")
			if own.Denied > 0 || own.Tokens == 0 {
				t.Errorf("the local API denied %d of %d calls", own.Denied, own.Denied+own.Tokens)
			}
			if slowest := time.Duration(own.SlowestToken); slowest >= time.Second {
				t.Errorf("a call of the local API took %v", slowest)
			}
		})
	}
}

// runAhead has strangers take the source ports ahead that lead to an address, while a
// victim goes about its business, and returns what became of that.
func (w *world) runAhead(t *testing.T, at string, business ...string) (own victimResult) {
	t.Helper()
	const tries, rate = 3000, 500
	victims := w.startReady(t, "victim", exec.Command(victim(), business...))
	cmd := exec.Command(stranger(), "-attack", "ahead", "-tries", strconv.Itoa(tries), "-rate", strconv.Itoa(rate), "-workers", "1",
		"-hooked", "-target", at)
	strangers := program{lab.StartProcess(t, w.as(strangerUser, w.programs), waitLimit, "strangers", cmd), attackLimit}
	strangers.wait(t)
	victims.finish(t)

	var theirs strangersResult
	strangers.result(t, &theirs)
	victims.result(t, &own)
	t.Logf("strangers %+v, victim %+v", theirs, own)
	if theirs.Tries != tries || theirs.Refused > 0 {
		t.Errorf("the strangers had %+v, which is no attack", theirs)
	}
	return own
}
