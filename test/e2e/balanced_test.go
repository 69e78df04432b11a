//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestNameWithMoreAddressesThanAnAnswerHas: a program is given other addresses of a name
// than the agent was, and each of its requests has its token, without a noticeable wait.
func TestNameWithMoreAddressesThanAnAnswerHas(t *testing.T) {
	w := newWorld(t)
	w.net.AddLocal(t, "10.97.0.1/16")
	addresses := make([]netip.Addr, 200)
	for i := range addresses {
		addresses[i] = netip.AddrFrom4([4]byte{10, 97, 1, byte(i + 1)})
	}
	w.dns.SetSome(ledgerHost, 8, addresses...)
	w.startAuthority()
	ledger := w.startLedger(netip.IPv4Unspecified())
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(pythonConfig(t)))
	output, err := w.run(python, "-c", prelude+fmt.Sprintf(`
import time
let_in, slowest = 0, 0
for i in range(1, %d + 1):
    began = time.monotonic()
    s = socket.create_connection(("10.97.1.%%d" %% i, 8080), 15)
    let_in += " 200 " in ask(s, "/balanced")
    slowest = max(slowest, time.monotonic() - began)
print("let in", let_in, "of", i, "slowest", round(1000 * slowest), "ms")
`, len(addresses)))
	t.Logf("counts: each answer has 8 addresses of 200: %s; %d questions to the name server", strings.TrimSpace(output), w.dns.Queries(ledgerHost))
	if err != nil || !strings.HasPrefix(output, "let in 200 of 200") {
		t.Errorf("the program printed %q (%v)", output, err)
	}
	if n := ledger.tokens(); n < len(addresses) {
		t.Errorf("%d of %d requests had a token", n, len(addresses))
	}
}
