//go:build linux

package probe

import (
	"errors"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// requireNoFlow requires that a connection from there cannot be attributed.
func (h *host) requireNoFlow(t *testing.T, from netip.AddrPort) {
	t.Helper()
	if flow, err := h.probe.Flows(h.cookie).Lookup(from); !errors.Is(err, workload.ErrNoFlow) {
		t.Errorf("a connection from %v found %+v (%v), want none", from, flow, err)
	}
}

// stored returns what is published under an address.
func (h *host) stored(t *testing.T, from string) (bpf.ConnectFlowKey, bpf.ConnectFlow, bool) {
	t.Helper()
	client := unmapped(t, from)
	key := bpf.ConnectFlowKey{Netns: h.cookie, Port: uint32(client.Port())}
	key.Local.Bytes = client.Addr().As16()
	var flow bpf.ConnectFlow
	err := h.probe.connect.Flows.Lookup(&key, &flow)
	return key, flow, err == nil
}

func (h *host) requireStored(t *testing.T, from string, want bool) {
	t.Helper()
	if _, _, stored := h.stored(t, from); stored != want {
		t.Errorf("flow of %s published: %v, want %v", from, stored, want)
	}
}

// connectFrom connects a socket that is bound to a local address and is reset on
// close, so that the address is free again at once.
func (c *process) connectFrom(t *testing.T, socket, from, to string) response {
	t.Helper()
	c.socket(t, socket, to)
	c.do(t, request{Do: "option", Socket: socket, Option: "reuse address"})
	c.do(t, request{Do: "option", Socket: socket, Option: "reset on close"})
	c.do(t, request{Do: "bind", Socket: socket, Addr: from})
	return c.do(t, request{Do: "connect", Socket: socket, Addr: to})
}

func (h *host) injectorAddr() string {
	return "127.0.0.1:" + strconv.Itoa(int(portOf(h.listeners[unix.AF_INET])))
}

func TestFlowIsClaimedOnce(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	c.connect(t, at(target4))
	_, from := accept(t, h.listeners[unix.AF_INET])
	if _, err := h.probe.Flows(h.cookie + 1).Lookup(from); !errors.Is(err, workload.ErrNoFlow) {
		t.Errorf("another namespace's flow was found (%v)", err)
	}
	_, err := h.probe.Flows(h.cookie).Lookup(from)
	must(t, err)
	h.requireNoFlow(t, from)
}

func TestDirectConnectionHasNoFlow(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	for _, test := range []struct {
		family Family
		addr   string
	}{
		{unix.AF_INET, "127.0.0.1"}, {unix.AF_INET, "::ffff:127.0.0.1"}, {unix.AF_INET, "0.0.0.0"}, {unix.AF_INET6, "::1"},
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(test.addr), portOf(h.listeners[test.family])).String()
		counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, to), 0) })
		requireCount(t, counts, "direct", 1)
		_, from := accept(t, h.listeners[test.family])
		h.requireNoFlow(t, from)
	}
}

// A flow may be found by its own connection only. Here its socket is reset before
// the injector accepts, and others come from the same port.
func TestPortUsedAgainBeforeAccept(t *testing.T) {
	const from = "127.0.0.1:5000"
	for _, test := range []struct {
		name   string
		second func(h *host) string // where the second connection goes
	}{
		{"by a direct connection", (*host).injectorAddr},
		{"by a redirected connection", func(*host) string { return at(target4) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			first, second, third := h.start(t, "first"), h.start(t, "second"), h.start(t, "third")
			first.connectFrom(t, "s", from, at(target4))
			h.requireStored(t, from, true)
			first.do(t, request{Do: "close", Socket: "s"})
			h.requireStored(t, from, true) // the connection waits, though its socket is gone

			counts := h.counts(t, func() { second.connectFrom(t, "s", from, test.second(h)) })
			requireCount(t, counts, "published", 0)
			requireCount(t, counts, "publish_conflict", 1)
			second.do(t, request{Do: "close", Socket: "s"})
			counts = h.counts(t, func() { third.connectFrom(t, "s", from, at(target4)) })
			requireCount(t, counts, "published", 0)
			requireCount(t, counts, "publish_conflict", 1)
			for range 3 {
				_, client := accept(t, h.listeners[unix.AF_INET])
				h.requireNoFlow(t, client)
			}
			third.do(t, request{Do: "close", Socket: "s"})
			h.requireDisputeEnds(t, first, from)
		})
	}
}

// requireDisputeEnds requires that the address can be used again when no flow that
// was disputed can be left, and not earlier.
func (h *host) requireDisputeEnds(t *testing.T, c *process, from string) {
	t.Helper()
	key, _, _ := h.stored(t, from)
	for _, test := range []struct {
		age       time.Duration
		published bool
	}{{flowLifetime - time.Second, false}, {flowLifetime, true}} {
		must(t, h.probe.connect.Disputes.Put(&key, sinceBoot()-uint64(test.age)))
		c.connectFrom(t, "s", from, at(target4))
		h.requireStored(t, from, test.published)
		_, client := accept(t, h.listeners[unix.AF_INET])
		if test.published {
			flow, err := h.probe.Flows(h.cookie).Lookup(client)
			if err != nil || flow.Image.PID != c.pid() {
				t.Errorf("flow is %+v (%v), want process %d", flow, err, c.pid())
			}
		} else {
			h.requireNoFlow(t, client)
		}
		c.do(t, request{Do: "close", Socket: "s"})
	}
}

// A flow that outlived its time does not keep the address from its next user.
func TestStaleFlowIsReplaced(t *testing.T) {
	const from = "127.0.0.1:5000"
	for _, test := range []struct {
		age       time.Duration
		published uint64
	}{{flowLifetime - time.Second, 0}, {flowLifetime, 1}} {
		h := newHost(t)
		first, second := h.start(t, "first"), h.start(t, "second")
		first.connectFrom(t, "s", from, at(target4))
		_, _ = accept(t, h.listeners[unix.AF_INET])
		first.do(t, request{Do: "close", Socket: "s"})
		h.age(t, from, test.age)
		counts := h.counts(t, func() { second.connectFrom(t, "s", from, at(target4)) })
		requireCount(t, counts, "published", test.published)
		requireCount(t, counts, "publish_conflict", 1-test.published)
	}
}

// age sets the stamp of a published flow back.
func (h *host) age(t *testing.T, from string, by time.Duration) bpf.ConnectFlowKey {
	t.Helper()
	key, flow, stored := h.stored(t, from)
	if !stored {
		t.Fatalf("no flow of %s is published", from)
	}
	flow.Published = sinceBoot() - uint64(by)
	must(t, h.probe.connect.Flows.Put(&key, &flow))
	return key
}

func TestStaleFlowIsNotClaimed(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	for age, want := range map[time.Duration]error{flowLifetime - time.Second: nil, flowLifetime + time.Second: workload.ErrNoFlow} {
		ends := c.connect(t, at(target4))
		h.age(t, ends.Local, age)
		if _, err := h.probe.Flows(h.cookie).Lookup(unmapped(t, ends.Local)); !errors.Is(err, want) {
			t.Errorf("a flow %v old: %v, want %v", age, err, want)
		}
	}
}

func TestSweep(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	stale, fresh := c.connect(t, at(target4)).Local, c.connect(t, at(target4)).Local
	future := c.connect(t, at(target4)).Local // published after the sweep read the clock
	h.age(t, stale, flowLifetime+time.Second)
	h.age(t, future, -time.Minute)
	must(t, h.probe.sweepFlows())
	h.requireStored(t, stale, false)
	h.requireStored(t, fresh, true)
	h.requireStored(t, future, true)

	// The flow that was found stale has been replaced meanwhile.
	key, _, _ := h.stored(t, fresh)
	must(t, h.probe.sweepFlow(&key, sinceBoot()))
	h.requireStored(t, fresh, true)
	key, _, _ = h.stored(t, stale)
	must(t, h.probe.sweepFlow(&key, sinceBoot())) // gone already
}

// Once established, the connection waits for the injector whatever its socket
// does, and nobody else may get into its place.
func TestEstablishedKeepsItsFlow(t *testing.T) {
	h := newHost(t)
	h.serve(t, "10.98.0.1:8081", "D")
	c := h.start(t, "billing")
	for what, leave := range map[string]func(){
		"close":   func() { c.do(t, request{Do: "close", Socket: "s"}) },
		"connect": func() { c.do(t, request{Do: "connect", Socket: "s", Addr: "10.98.0.1:8081"}) },
	} {
		ends := c.connect(t, at(target4))
		if what == "connect" {
			c.do(t, request{Do: "disconnect", Socket: "s"})
		}
		leave()
		h.requireStored(t, ends.Local, true)
		if flow := h.claim(t, unix.AF_INET); flow.Client != unmapped(t, ends.Local) {
			t.Errorf("%s: the flow is of %v, want %s", what, flow.Client, ends.Local)
		}
	}
}

// fullInjector replaces the IPv4 listener by one that takes no further connection.
func (h *host) fullInjector(t *testing.T, c *process) {
	t.Helper()
	must(t, h.listeners[unix.AF_INET].Close())
	delete(h.listeners, unix.AF_INET)
	var fd int
	must(t, h.net.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		return unix.Listen(fd, 0)
	}))
	t.Cleanup(func() { unix.Close(fd) })
	name, err := unix.Getsockname(fd)
	must(t, err)
	port := uint16(name.(*unix.SockaddrInet4).Port)
	must(t, h.probe.markListener(rawConn{rawSocket(fd)}, port, bpf.ConnectSocketMarkSOCKET_INJECTOR))
	must(t, h.probe.Ready(Listener{NetNS: h.cookie, Family: unix.AF_INET, Port: port, Routable: true}))
	requireErrno(t, "connect", c.connect(t, at(target4)), 0) // takes the only place
}

// waiting connects without waiting for an answer that does not come.
func (c *process) waiting(t *testing.T, socket string) string {
	t.Helper()
	c.socket(t, socket, at(target4))
	c.do(t, request{Do: "option", Socket: socket, Option: "no waiting"})
	got := c.try(t, request{Do: "connect", Socket: socket, Addr: at(target4)})
	requireErrno(t, "connect to a full listener", got, unix.EINPROGRESS)
	return got.Local
}

func TestReleaseBeforeEstablished(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	h.fullInjector(t, c)
	local := c.waiting(t, "w")
	h.requireStored(t, local, true)
	c.do(t, request{Do: "close", Socket: "w"})
	h.requireStored(t, local, false)
}

func TestSecondConnectForgetsTheFirst(t *testing.T) {
	h := newHost(t)
	h.serve(t, "10.98.0.1:8081", "D")
	c := h.start(t, "billing")
	h.fullInjector(t, c)
	local := c.waiting(t, "w")
	h.requireStored(t, local, true)
	c.do(t, request{Do: "disconnect", Socket: "w"})
	ends := c.try(t, request{Do: "connect", Socket: "w", Addr: "10.98.0.1:8081"})
	if ends.Error != "" && ends.Errno != unix.EINPROGRESS {
		t.Fatalf("second connect: %s", ends.Error)
	}
	h.requireStored(t, local, false)
	if peer := c.do(t, request{Do: "ends", Socket: "w"}).Peer; peer != "10.98.0.1:8081" {
		t.Errorf("getpeername said %s of the second connection", peer)
	}
}

// A flow that its socket gives back may be another's by then.
func TestOnlyThePublisherWithdraws(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	h.fullInjector(t, c)
	local := c.waiting(t, "w")
	key, flow, _ := h.stored(t, local)
	flow.SocketCookie++
	must(t, h.probe.connect.Flows.Put(&key, &flow))
	c.do(t, request{Do: "close", Socket: "w"})
	h.requireStored(t, local, true)
}
