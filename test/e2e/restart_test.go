//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// keepOpen makes connections to a server, asks once over each, and closes none before the
// test ends, whatever the server does.
func (w *world) keepOpen(address, path string) {
	w.t.Helper()
	for range 3 {
		c, err := w.dial(w.t.Context(), "tcp", address)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = c.Close() })
		if err := askOnce(c, path); err != nil {
			w.t.Fatal(err)
		}
	}
}

func askOnce(c net.Conn, path string) error {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, c.RemoteAddr()); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// end ends a process, and returns when it has ended.
func (p process) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	p.Signal(signal)
	if !p.EndsWithin(waitLimit) {
		t.Fatalf("%s did not end within %v of %v", p.Name, waitLimit, signal)
	}
}

var endings = []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}

// TestServicesStartAgain: authority and verify listen again as soon as the former process
// has ended, whose clients keep their connections. As an ordinary user they may not end
// what it left.
func TestServicesStartAgain(t *testing.T) {
	for name, user := range map[string]*syscall.Credential{"root": nil, "nobody": nobodyUser()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.openSocket() // the folder is everybody's
			if err := os.Mkdir(w.path("authority"), 0o700); err != nil {
				t.Fatal(err)
			}
			if user != nil {
				if err := os.Chown(w.path("authority"), int(user.Uid), int(user.Gid)); err != nil {
					t.Fatal(err)
				}
			}
			place := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files, User: user}
			// A process that cannot listen ends, which fails the wait.
			start := func(address, path string, arguments ...string) process {
				cmd := exec.Command(lanyard(t), arguments...)
				cmd.Env = w.serviceEnv("LANYARD_AUTHORITY_URL=" + authorityURL)
				p := startProcess(t, place, arguments[0], cmd)
				p.WaitUntil(t, waitLimit, func() error { _, _, err := w.get("http://" + address + path); return err })
				return p
			}
			authority := func() process { return start("127.0.0.1:8700", "/readyz", "authority") }
			verify := func() process {
				return start(verifyAddress, "/", "verify", "--listen", verifyAddress, "--audience", ledgerAudience)
			}
			first, second := authority(), verify()
			for _, signal := range endings {
				w.keepOpen("127.0.0.1:8700", "/readyz")
				w.keepOpen(verifyAddress, "/")
				second.end(t, signal)
				second = verify()
				first.end(t, signal)
				first = authority()
			}
		})
	}
}

// TestAgentListensAgain: a new agent has all its listeners at once, though the clients of
// the former one keep their connections. It would do its work without, and try again.
func TestAgentListensAgain(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	config := w.config(keyedConfig)
	w.startAgent(config)
	for _, signal := range endings {
		for _, address := range []string{"127.0.0.1:3013", "[::1]:3013", "127.0.0.1:3014"} {
			w.keepOpen(address, "/readyz")
		}
		w.agent.end(t, signal)
		w.startAgent(config)
		if text, err := readiness(w.http, metricsURL); err != nil || strings.Contains(text, "degraded: local_api ") {
			t.Errorf("after %v /readyz says %q, %v", signal, text, err)
		}
		if strings.Contains(w.agent.Output(), "works without one of its listeners") {
			t.Errorf("after %v a listener could not be had at once", signal)
		}
	}
	w.stopAgent()
}
