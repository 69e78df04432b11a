//go:build linux

package probe

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// A multipath socket connects by a sub-flow of the kernel's: that is redirected
// and falls back to plain TCP, and its owner is known. getpeername asks the
// multipath socket, of which the hooks know nothing: it names the injector.
func TestMultipathTCP(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	c.do(t, request{Do: "socket", Socket: "m", Option: "mptcp"})
	ends := c.do(t, request{Do: "connect", Socket: "m", Addr: at(target4)})
	flow := h.claim(t, unix.AF_INET)
	if flow.Original != unmapped(t, at(target4)) || flow.Client != unmapped(t, ends.Local) {
		t.Errorf("flow is %+v", flow)
	}
	h.requireRuns(t, c, flow.Image)
	if ends.Peer != h.injectorAddr() {
		t.Errorf("getpeername said %s, want %s (docs/kernels.md says so)", ends.Peer, h.injectorAddr())
	}
	for family := range h.listeners {
		must(t, h.probe.Unready(h.cookie, family))
	}
	h.close46(t)
	c.do(t, request{Do: "socket", Socket: "m", Option: "mptcp"})
	requireErrno(t, "connect to closed", c.try(t, request{Do: "connect", Socket: "m", Addr: at(target4)}), unix.ECONNREFUSED)
}

// requireFastOpen requires that what was sent with the connection arrives, and
// that its flow is found.
func (h *host) requireFastOpen(t *testing.T, local string) {
	t.Helper()
	conn, from := accept(t, h.listeners[unix.AF_INET])
	if from != unmapped(t, local) {
		t.Errorf("accepted %v, want %s", from, local)
	}
	flow, err := h.probe.Lookup(conn.(*net.TCPConn))
	must(t, err)
	if flow.Kind != workload.FlowRedirected || flow.Original != unmapped(t, at(target4)) {
		t.Errorf("flow is %+v", flow)
	}
	must(t, conn.SetReadDeadline(time.Now().Add(waitLimit)))
	data := make([]byte, 5)
	if _, err := conn.Read(data); err != nil || string(data) != "hello" {
		t.Errorf("read %q (%v)", data, err)
	}
}

func TestFastOpen(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	// By default a client needs a cookie first; these send data with the SYN at once.
	for name, setting := range map[string]string{"with cookies": "1", "without cookies": "5"} {
		t.Run(name, func(t *testing.T) {
			must(t, h.net.Do(func() error {
				return os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte(setting), 0)
			}))
			c.socket(t, "f", at(target4))
			ends := c.do(t, request{Do: "fastopen", Socket: "f", Addr: at(target4), Option: "hello"})
			h.requireFastOpen(t, c.do(t, request{Do: "ends", Socket: "f"}).Local)
			if ends.Peer != "" && ends.Peer != at(target4) {
				t.Errorf("getpeername said %s", ends.Peer)
			}

			c.socket(t, "f", at(target4))
			c.do(t, request{Do: "option", Socket: "f", Option: "fast open on connect"})
			c.do(t, request{Do: "connect", Socket: "f", Addr: at(target4)})
			c.do(t, request{Do: "write", Socket: "f", Option: "hello"})
			ends = c.do(t, request{Do: "ends", Socket: "f"})
			h.requireFastOpen(t, ends.Local)
			if ends.Peer != at(target4) {
				t.Errorf("getpeername said %s", ends.Peer)
			}
		})
	}
}

// A connection that is redirected is made at once: when data is sent first, which is when
// Fast Open would make it, the injector may be another, and the share used up.
func TestFastOpenIsNotDeferred(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	h.watchFor(t, named("billing"))
	must(t, h.net.Do(func() error { // no cookie needed
		return os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0)
	}))
	for name, deferred := range map[string]int{"billing": 0, "curl": 1} {
		c := h.start(t, name)
		c.socket(t, "f", at(target4))
		c.do(t, request{Do: "option", Socket: "f", Option: "fast open on connect"})
		if got := c.do(t, request{Do: "is deferred", Socket: "f"}).Counts["deferred"]; got != deferred {
			t.Errorf("the connections of %s are deferred: %d, want %d", name, got, deferred)
		}
		requireErrno(t, "connect of "+name, c.try(t, request{Do: "connect", Socket: "f", Addr: at(target4)}), 0)
		if deferred == 0 {
			h.claim(t, unix.AF_INET) // nothing was sent
		}
	}
	h.requireNoConnection(t)
}

func TestBoundSourceAddress(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	for address, family := range map[string]Family{target4: unix.AF_INET, target6: unix.AF_INET6} {
		to := at(address)
		c.socket(t, "b", to)
		c.do(t, request{Do: "bind", Socket: "b", Addr: net.JoinHostPort(address, "0")})
		ends := c.do(t, request{Do: "connect", Socket: "b", Addr: to})
		flow := h.claim(t, family)
		if flow.Client.Addr() != unmapped(t, to).Addr() || flow.Client != unmapped(t, ends.Local) {
			t.Errorf("flow is from %v, want %s (the socket's own end is %s)", flow.Client, address, ends.Local)
		}
	}
}
