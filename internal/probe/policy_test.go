//go:build linux

package probe

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

const open4, open6 = "10.98.0.2", "fd98::2"

// newClosedHost makes a host whose two targets belong to a closed destination,
// beside two addresses that do not. Something answers at all of them.
func newClosedHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	h.net.AddLocal(t, open4+"/32", open6+"/128")
	for _, address := range []string{target4, target6, open4, open6} {
		h.serve(t, at(address), "D")
	}
	h.close46(t)
	return h
}

// closedTo is an address where the identities of these tests get tokens.
func closedTo(prefix netip.Prefix) ClosedDestination {
	return ClosedDestination{Prefix: prefix, Port: watched, Identities: []string{everybody, exactIdentity}}
}

func (h *host) close46(t *testing.T, more ...string) {
	t.Helper()
	var closed []ClosedDestination
	for _, address := range append([]string{target4, target6}, more...) {
		addr := netip.MustParseAddr(address)
		closed = append(closed, closedTo(netip.PrefixFrom(addr, addr.BitLen())))
	}
	must(t, h.probe.SetClosed(closed))
}

// requirePolicy requires that nothing is redirected, for this reason: connects to
// a closed destination are refused, all others pass.
func (h *host) requirePolicy(t *testing.T, why string, connect func(addr string) response, read func() string) {
	t.Helper()
	for address, refused := range map[string]bool{
		target4: true, target6: true, "::ffff:" + target4: true,
		open4: false, open6: false, "::ffff:" + open4: false,
	} {
		var got response
		counts := h.counts(t, func() { got = connect(at(address)) })
		requireCount(t, counts, why, 1)
		requireCount(t, counts, "redirected", 0)
		if refused {
			requireErrno(t, "connect to closed "+address, got, unix.ECONNREFUSED)
			requireCount(t, counts, "refused", 1)
			continue
		}
		requireErrno(t, "connect to "+address, got, 0)
		requireCount(t, counts, "passed", 1)
		if greeting := read(); got.Errno == 0 && greeting != "D" {
			t.Errorf("%s: read %q, want the destination's own greeting", address, greeting)
		}
	}
}

// requirePolicyFor is requirePolicy for a client's plain sockets.
func (h *host) requirePolicyFor(t *testing.T, c *process, why string) {
	t.Helper()
	h.requirePolicy(t, why,
		func(addr string) response { return c.connect(t, addr) },
		func() string { return c.do(t, request{Do: "read", Socket: "s"}).Text })
}

func TestNoListenerAnnounced(t *testing.T) {
	h := newClosedHost(t)
	c := h.start(t, "billing")
	for family := range h.listeners {
		must(t, h.probe.Unready(h.cookie, family))
		must(t, h.probe.Unready(h.cookie, family)) // a second time changes nothing
	}
	h.requirePolicyFor(t, c, "no_listener")
	for family := range h.listeners {
		must(t, h.announce(family, true))
		address := at(map[Family]string{unix.AF_INET: target4, unix.AF_INET6: target6}[family])
		requireErrno(t, "connect", c.connect(t, address), 0)
		h.claim(t, family)
	}
}

func TestListenerClosed(t *testing.T) {
	h := newClosedHost(t)
	for family, listener := range h.listeners {
		listener.Close()
		delete(h.listeners, family)
	}
	h.requirePolicyFor(t, h.start(t, "billing"), "no_listener")
}

// The port alone is nothing: whoever takes it after our listener is gone gets
// no connection.
func TestSquatterOnOurPort(t *testing.T) {
	h := newClosedHost(t)
	for family, address := range map[Family]string{unix.AF_INET: "127.0.0.1", unix.AF_INET6: "[::1]"} {
		port := strconv.Itoa(int(portOf(h.listeners[family])))
		must(t, h.listeners[family].Close())
		delete(h.listeners, family)
		h.serve(t, address+":"+port, "squatter")
	}
	h.requirePolicyFor(t, h.start(t, "billing"), "no_listener")
}

// beatAgo sets the heartbeat back.
func (h *host) beatAgo(t *testing.T, ago time.Duration) {
	t.Helper()
	writeWord(h.probe.heartbeat, 0, readClock(unix.CLOCK_MONOTONIC)-uint64(ago))
}

func TestHeartbeat(t *testing.T) {
	h := newClosedHost(t)
	h.rest(t)
	c := h.start(t, "billing")
	h.beatAgo(t, 5*time.Second)
	h.requirePolicyFor(t, c, "heartbeat_stale")
	h.beatAgo(t, 3*time.Second)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	h.claim(t, unix.AF_INET)
	h.beatAgo(t, 10*time.Second)
	h.requirePolicyFor(t, c, "heartbeat_stale")
	h.run()
	lab.Eventually(t, waitLimit, func() error {
		if got := c.connect(t, at(target4)); got.Errno != 0 {
			return got.Errno
		}
		return nil
	})
	h.claim(t, unix.AF_INET)
}

func TestBoundToDevice(t *testing.T) {
	h := newClosedHost(t)
	c := h.start(t, "billing")
	h.requirePolicy(t, "bound_device", func(addr string) response {
		c.socket(t, "s", addr)
		c.do(t, request{Do: "option", Socket: "s", Option: "device", Path: "lo"})
		return c.try(t, request{Do: "connect", Socket: "s", Addr: addr})
	}, func() string { return c.do(t, request{Do: "read", Socket: "s"}).Text })
}

// The device of a link-local address is not seen by the hook, so a redirected
// connection could not be carried on.
func TestLinkLocal(t *testing.T) {
	h := newClosedHost(t)
	h.net.AddLocal(t, "fe80::98/64", "fe80::99/64")
	for _, address := range []string{"fe80::98%lo", "fe80::99%lo"} {
		h.serve(t, at(address), "D")
	}
	h.close46(t, "fe80::98")
	c := h.start(t, "billing")
	requireErrno(t, "connect to closed", c.connect(t, at("fe80::98%lo")), unix.ECONNREFUSED)
	counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at("fe80::99%lo")), 0) })
	requireCount(t, counts, "bound_device", 1)
	if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
		t.Errorf("read %q, want the destination's own greeting", greeting)
	}
}

func TestForeignNamespace(t *testing.T) {
	h := newClosedHost(t)
	foreign := &host{agent: h.agent, cgroup: h.cgroup, net: lab.NewNetNS(t)}
	foreign.net.AddLocal(t, target4+"/32", target6+"/128", open4+"/32", open6+"/128")
	for _, address := range []string{open4, open6} {
		foreign.serve(t, at(address), "D")
	}
	// Somebody there who listens on our port is not us.
	foreign.serve(t, "127.0.0.1:"+strconv.Itoa(int(portOf(h.listeners[unix.AF_INET]))), "squatter")
	h.requirePolicyFor(t, foreign.start(t, "billing"), "no_listener")
}

// Without a route the kernel's own answer is right; a refusal or a connection to
// the injector would be a lie that keeps clients from their other addresses.
func TestNoRoute(t *testing.T) {
	h := newClosedHost(t)
	const nowhere4, nowhere6 = "10.97.0.1", "fd97::1"
	h.close46(t, nowhere4, nowhere6)
	c := h.start(t, "billing")
	for family, address := range map[Family]string{unix.AF_INET: nowhere4, unix.AF_INET6: nowhere6} {
		must(t, h.announce(family, false))
		counts := h.counts(t, func() {
			requireErrno(t, "connect to "+address, c.connect(t, at(address)), unix.ENETUNREACH)
		})
		requireCount(t, counts, "no_route", 1)
	}
	for family, address := range map[Family]string{unix.AF_INET: "127.0.0.1", unix.AF_INET6: "::1"} {
		requireErrno(t, "connect to loopback", c.connect(t, at(address)), 0)
		h.claim(t, family)
	}
}

func TestClosedAddressesAreReplaced(t *testing.T) {
	h := newClosedHost(t)
	c := h.start(t, "billing")
	for family := range h.listeners {
		must(t, h.probe.Unready(h.cookie, family))
	}
	too := make([]ClosedDestination, 0, maxPrefixes+1)
	for i := range maxPrefixes + 1 {
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		too = append(too, closedTo(netip.PrefixFrom(addr, 32)))
	}
	if err := h.probe.SetClosed(too); err == nil {
		t.Error("more closed addresses than fit were accepted")
	}
	requireErrno(t, "connect after the refused change", c.connect(t, at(target4)), unix.ECONNREFUSED)
	must(t, h.probe.SetClosed([]ClosedDestination{closedTo(netip.MustParsePrefix(open4 + "/32"))}))
	requireErrno(t, "connect to what was closed", c.connect(t, at(target4)), 0)
	requireErrno(t, "connect to what is closed now", c.connect(t, at(open4)), unix.ECONNREFUSED)
	must(t, h.probe.SetClosed(nil))
	requireErrno(t, "connect", c.connect(t, at(open4)), 0)
}
