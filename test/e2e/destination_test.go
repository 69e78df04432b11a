//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

func TestHostOfAnotherAddressGetsNoToken(t *testing.T) {
	w, _ := startCurlWorld(t)
	other := w.startOther(otherV4)
	output, err := w.curl("--header", "Host: "+ledgerHost+":"+port, "http://"+otherV4.String()+":"+port)
	if err != nil || !strings.Contains(output, "other") {
		t.Fatalf("the request was not forwarded: %v\n%s", err, output)
	}
	if other.last(t).token != "" {
		t.Error("a server that only claims to be the ledger got its token")
	}
	w.wantOutcome("destination_unverified", 1)
	w.agent.waitForLog(t, otherV4.String()) // the operator is warned
}

func TestUnregisteredHostGetsNoToken(t *testing.T) {
	w, _ := startCurlWorld(t)
	other := w.startOther(otherV4)
	w.dns.Set("other.test", otherV4)
	output, err := w.curl("http://other.test:" + port)
	if err != nil || !strings.Contains(output, "other") || other.last(t).token != "" {
		t.Errorf("curl got %q (%v) and the server a token: %v; want the answer and none", output, err, other.last(t).token != "")
	}
	w.wantOutcome("no_destination", 1)
}

func TestNameOnTwoAddressesOneDead(t *testing.T) {
	// The kernel answers for fd98::dead with a reset; nobody answers for
	// fd98:dead::1, which lies behind a network that drops everything.
	for name, dead := range map[string]string{"refused": "fd98::dead", "silent": "fd98:dead::1"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.addDeadNetwork()
			w.dns.Set(ledgerHost, netip.MustParseAddr(dead), ledgerV4)
			w.startAuthority()
			w.startLedger(ledgerV4)
			w.createTicket("ticket")
			w.startAgent(w.config(curlConfig))
			w.wantIn(ledgerURL, "--max-time", "10")
		})
	}
}

// The ledger is served by this test, as root and outside the product's cgroup. The
// agent sees that in the kernel, whatever name and address say.
func TestServedByWhomTheDestinationNames(t *testing.T) {
	w, ledger := startCurlWorld(t)
	reloads := 0
	servedBy := func(who string) {
		w.reload(strings.Replace(w.config(curlConfig), "    audience:", "    served_by: "+who+"\n    audience:", 1))
		reloads++
		w.agent.WaitUntil(t, waitLimit, func() error {
			if n := strings.Count(w.agent.Output(), "configuration reloaded"); n < reloads {
				return fmt.Errorf("reloaded %d times, want %d", n, reloads)
			}
			return nil
		})
	}
	servedBy("{user: root}")
	for _, address := range []netip.Addr{ledgerV4, ledgerV6} {
		w.dns.Set(ledgerHost, address)
		w.wantIn(ledgerURL)
	}
	tokens := ledger.tokens()
	for i, who := range []string{"{cgroup: " + w.services.Name + "}", "{user: nobody}", "{systemd_unit: ledger.service}"} {
		servedBy(who)
		if output, err := w.curl(ledgerURL); err == nil {
			t.Errorf("served by %s, curl was let in:\n%s", who, output)
		}
		w.wantOutcome("destination_unverified", uint64(i+1))
	}
	if n := ledger.tokens(); n != tokens {
		t.Errorf("%d tokens went to a server that is not the one named", n-tokens)
	}
}

// A name that a request gives, or an address that the program chose itself, leads
// nobody to another machine when that address is dead.
func TestNoFailoverToAnotherMachine(t *testing.T) {
	w, ledger := startCurlWorld(t)
	w.addDeadNetwork()
	other := w.startOther(otherV4)
	w.dns.Set("prod.test", otherV4)
	for i, host := range []string{"prod.test", ledgerHost} {
		output, err := w.curl("--max-time", "15", "--resolve", host+":"+port+":fd98::dead", "http://"+host+":"+port)
		if code := exitCode(err); code == 0 || code == 28 {
			t.Errorf("%s at a dead address: curl ended with %d, want a reset\n%s", host, code, output)
		}
		w.wantOutcome("upstream_failed", uint64(i+1))
	}
	if n := len(other.all()) + len(ledger.all()); n != 0 {
		t.Errorf("%d requests reached a machine that was not connected to", n)
	}
}

// addDeadNetwork makes fd98::dead an address without a listener, and routes
// fd98:dead::/64 and 10.98.99.0/24 to where packets vanish.
func (w *world) addDeadNetwork() {
	w.t.Helper()
	w.net.AddLocal(w.t, "fd98::dead/128")
	void := lab.NewNetNS(w.t)
	lab.Connect(w.t, w.net, []string{"10.98.1.1/24", "fd98:1::1/64"}, void, []string{"10.98.1.2/24", "fd98:1::2/64"})
	for prefix, gateway := range map[string]string{"10.98.99.0/24": "10.98.1.2", "fd98:dead::/64": "fd98:1::2"} {
		w.net.AddRoute(w.t, prefix, gateway)
		void.AddBlackhole(w.t, prefix)
	}
}

func TestDeadDestinationEndsTheConnection(t *testing.T) {
	w := newWorld(t)
	w.dns.Set(ledgerHost, ledgerV4, ledgerV6)
	w.startAuthority()
	w.createTicket("ticket")
	w.startAgent(w.config(curlConfig))
	began := time.Now()
	output, err := w.curl("--max-time", "15", ledgerURL) // nothing listens there
	if err == nil {
		t.Errorf("curl succeeded at a dead destination:\n%s", output)
	}
	if exitCode(err) == 28 {
		t.Errorf("curl hung for %v, want a reset:\n%s", time.Since(began), output)
	}
	w.wantOutcome("upstream_failed", 1)
}

func TestAnswerOfNameServerChanges(t *testing.T) {
	w := newWorld(t)
	moved := netip.MustParseAddr("10.98.0.11")
	w.net.AddLocal(t, moved.String()+"/32")
	w.startAuthority()
	ledger := w.startLedger(ledgerV4, moved)
	w.createTicket("ticket")
	w.dns.Set(ledgerHost, ledgerV4)
	w.startAgent(w.config(pythonConfig(t)))
	// The program stays connected to the old address while the name moves, connects
	// anew, and goes on with both connections.
	client := w.program(python, "-c", prelude+`
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
`+connect+`
print("before", ask(s, "/before"), flush=True)
signal.sigwait({signal.SIGUSR1})
kept = s
`+connect+`
print("anew", ask(s, "/anew"), flush=True)
print("still", ask(kept, "/still"), flush=True)
`)
	running := startProcess(t, w.place(), "client", client)
	running.waitForLog(t, "before HTTP/1.1 200")
	w.dns.Set(ledgerHost, moved)
	running.Signal(syscall.SIGUSR1)
	if !running.EndsWithin(waitLimit) {
		t.Fatal("the program did not end")
	}
	output := running.Output()
	for path, address := range map[string]netip.Addr{"anew": moved, "still": ledgerV4} {
		seen := slices.IndexFunc(ledger.all(), func(q request) bool { return q.path == "/"+path })
		if !strings.Contains(output, path+" HTTP/1.1 200") || seen < 0 || ledger.all()[seen].at != address {
			t.Errorf("the program printed %q; want to be let in for /%s, at %s", output, path, address)
		}
	}
}

// TestForeignNamespace has programs connect from a network namespace where the
// agent has no listener. Nothing may hang there: the fail policy decides.
func TestForeignNamespace(t *testing.T) {
	w, ledger := startCurlWorld(t)
	w.wantIn(ledgerURL)
	w.startOther(otherV4)
	foreign := lab.NewNetNS(t)
	lab.Connect(t, w.net, []string{"10.98.1.1/24"}, foreign, []string{"10.98.1.2/24"})
	foreign.AddRoute(t, "10.98.0.0/24", "10.98.1.1")
	place := lab.Place{Cgroup: w.programs, Net: foreign}
	seen := len(ledger.all())

	output, err := w.runAt(place, append(curlCommand(t), "--max-time", "10",
		"--resolve", ledgerHost+":"+port+":"+ledgerV4.String(), ledgerURL)...)
	if exitCode(err) != 7 || len(ledger.all()) != seen {
		t.Errorf("curl at the closed destination ended with %v, want a failed connect (7):\n%s", err, output)
	}
	output, err = w.runAt(place, append(curlCommand(t), "--max-time", "10", "http://"+otherV4.String()+":"+port)...)
	if err != nil || !strings.Contains(output, "other") {
		t.Errorf("curl elsewhere got %q (%v), want the answer", output, err)
	}
}
