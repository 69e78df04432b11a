//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// keepsConnected connects, asks, and asks again whenever it gets SIGUSR1, on the same
// connection for as long as that lives.
const keepsConnected = prelude + `
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
name, shared = sys.argv[1], len(sys.argv) > 2
s = socket.create_connection(("ledger.test", 8080), 15)
r, w = os.pipe()
if shared and os.fork() == 0:
    os.setgid(65534); os.setuid(65534)
    os.close(w)
    os.read(r, 1) # until its parent ends
    os._exit(0)
print("connected", ask(s, "/" + name + "/before"), flush=True)
while True:
    signal.sigwait({signal.SIGUSR1})
    try:
        print("same", ask(s, "/" + name + "/after"), flush=True)
    except OSError as e:
        s = socket.create_connection(("ledger.test", 8080), 15)
        print("again", type(e).__name__, ask(s, "/" + name + "/after"), flush=True)
`

// TestConnectionsFromBefore: security.md 33. A connection that an identity's program made
// while no agent ran is ended, so that its next request has a token; nobody else's is.
func TestConnectionsFromBefore(t *testing.T) {
	for name, k := range map[string]struct {
		change    func(config string) string
		as        *syscall.Credential
		arguments []string
		result    string // of the metric, or "" for a connection that is not the identity's
	}{
		"of an identity":            {result: "ended"},
		"of another user":           {as: &syscall.Credential{Uid: 65534, Gid: 65534}},
		"shared with another user":  {arguments: []string{"shared"}, result: "other_processes"},
		"that are only counted":     {change: withKey("connections_before: count"), result: "configured"},
		"where a token is optional": {change: withKey("on_failure: open"), result: "open"},
		"in a range of addresses":   {change: withKey("addresses: [10.98.0.0/24, \"fd98::/64\"]"), result: "ended"},
		"in a range by a wildcard": {change: func(config string) string {
			return strings.Replace(withKey("addresses: [10.98.0.0/24, \"fd98::/64\"]")(config), "[ledger.test]", "[\"*.test\"]", 1)
		}, result: "shared_address"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startAuthority()
			ledger := w.startLedger()
			w.createTicket("ticket", "--max-uses", "1")
			config := w.config(pythonConfig(t))
			if k.change != nil {
				config = k.change(config)
			}
			place := w.place()
			place.User = k.as
			cmd := w.program(append([]string{python, "-c", keepsConnected, "client"}, k.arguments...)...)
			client := startProcess(t, place, "client", cmd)
			client.waitForLog(t, "connected HTTP/1.1 401")
			w.startAgent(config)
			if k.result != "" {
				w.waitForBefore(k.result, 1)
			} else {
				w.agent.waitForLog(t, "connections from before were looked for")
			}
			client.Signal(syscall.SIGUSR1)
			want := "same HTTP/1.1 401"
			if k.result == "ended" {
				want = "HTTP/1.1 200"
			}
			client.waitForLog(t, want)
			if n := ledger.tokens(); (n > 0) != (k.result == "ended") {
				t.Errorf("%d requests had a token; the program printed %q", n, client.Output())
			}
		})
	}
}

// withKey adds a key to the destination.
func withKey(line string) func(config string) string {
	return func(config string) string {
		return strings.Replace(config, "    audience:", "    "+line+"\n    audience:", 1)
	}
}

// TestConnectionsFromBeforeAReload: those to a destination that a reload registers.
func TestConnectionsFromBeforeAReload(t *testing.T) {
	w, ledger := startPythonWorld(t)
	full := w.config(pythonConfig(t))
	w.reload(strings.Replace(full, "ports: [8080]", "ports: [9090]", 1))
	w.agent.waitForLog(t, "configuration reloaded")
	client := startProcess(t, w.place(), "client", w.program(python, "-c", keepsConnected, "client"))
	client.waitForLog(t, "connected HTTP/1.1 401")
	w.reload(full)
	w.waitForBefore("ended", 1)
	client.Signal(syscall.SIGUSR1)
	client.waitForLog(t, "again ")
	client.waitForLog(t, "HTTP/1.1 200")
	if n := ledger.tokens(); n == 0 {
		t.Errorf("no request had a token; the program printed %q", client.Output())
	}
}

// waitForBefore waits until so many connections from before have been found.
func (w *world) waitForBefore(result string, count uint64) {
	w.t.Helper()
	w.agent.WaitUntil(w.t, waitLimit, func() error {
		if n := w.metric(fmt.Sprintf(`lanyard_connections_before_total{destination="ledger",identity="ledger-client",result=%q}`, result)); n != count {
			return fmt.Errorf("%d connections from before were %s, want %d", n, result, count)
		}
		return nil
	})
}
