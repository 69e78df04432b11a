//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// requireNoFlow requires that an accepted connection cannot be attributed.
func (h *host) requireNoFlow(t testing.TB, conn net.Conn) {
	t.Helper()
	if flow, err := h.probe.Lookup(conn.(*net.TCPConn)); !errors.Is(err, workload.ErrNoFlow) {
		t.Errorf("a connection from %v has %+v (%v), want no flow", conn.RemoteAddr(), flow, err)
	}
}

// requireFlowOf requires that an accepted connection is known as this client's.
func (h *host) requireFlowOf(t testing.TB, conn net.Conn, c *process) {
	t.Helper()
	flow, err := h.probe.Lookup(conn.(*net.TCPConn))
	must(t, err)
	h.probe.Release(flow)
	if flow.Image.PID != c.pid() {
		t.Errorf("a connection from %v has the flow of process %d, want %d", conn.RemoteAddr(), flow.Image.PID, c.pid())
	}
}

// unfinished returns how many flows wait for the end of their handshake.
func (h *host) unfinished(t testing.TB) int {
	t.Helper()
	var key bpf.ConnectFlowKey
	var flow bpf.ConnectFlow
	n := 0
	all := h.probe.connect.Handshakes.Iterate()
	for all.Next(&key, &flow) {
		n++
	}
	must(t, all.Err())
	return n
}

func (h *host) requireUnfinished(t testing.TB, want int) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if got := h.unfinished(t); got != want {
			return fmt.Errorf("%d flows wait for the end of their handshake, want %d", got, want)
		}
		return nil
	})
}

// allowDirect takes the kernel's refusal of direct connections away, so that what
// stands behind it can be seen.
func (h *host) allowDirect(t testing.TB) {
	t.Helper()
	h.probe.mu.Lock()
	defer h.probe.mu.Unlock()
	h.probe.settings.Flags |= bpf.ConnectSettingFlagDIRECT_ALLOWED
	must(t, h.probe.putSettings())
}

// connectFrom connects a socket that is bound to a local address and is reset on
// close, so that the address is free again at once.
func (c *process) connectFrom(t testing.TB, socket, from, to string) response {
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

func TestFlowBelongsToItsSocket(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
	requireCount(t, counts, "published", 1)
	requireCount(t, counts, "taken", 1)
	requireCount(t, counts, "withdrawn", 0)
	conn, _ := accept(t, h.listeners[unix.AF_INET])
	h.requireFlowOf(t, conn, c)
	h.requireUnfinished(t, 0)

	listener, err := listenTCP(h.net.Do, "127.0.0.1:0") // not marked: nobody's
	must(t, err)
	defer listener.Close()
	c.connect(t, listener.Addr().String())
	other, _ := accept(t, listener)
	h.requireNoFlow(t, other)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer udp.Close()
	if _, err := h.probe.Lookup(udp.(*net.UDPConn)); !errors.Is(err, workload.ErrNoFlow) {
		t.Errorf("a UDP socket: %v", err)
	}
}

// Who connects to the injector by itself is refused where the hooks see it, and
// reset by the kernel where they do not.
func TestDirectConnectionIsTurnedAway(t *testing.T) {
	h := newHost(t)
	must(t, h.net.Do(func() error {
		return h.probe.TurnAway(map[Family]Ports{
			unix.AF_INET: {0: portOf(h.listeners[unix.AF_INET])}, unix.AF_INET6: {Listeners - 1: portOf(h.listeners[unix.AF_INET6])},
		})
	}))
	hooked := h.start(t, "billing")
	free := h.startIn(t, executable(t, "billing"), lab.Place{Cgroup: lab.NewCgroup(t), Net: h.net})
	for _, test := range []struct {
		family Family
		addr   string
	}{
		{unix.AF_INET, "127.0.0.1"}, {unix.AF_INET, "::ffff:127.0.0.1"}, {unix.AF_INET, "0.0.0.0"}, {unix.AF_INET6, "::1"},
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(test.addr), portOf(h.listeners[test.family])).String()
		for _, c := range []*process{hooked, free} {
			counts := h.counts(t, func() { requireErrno(t, "direct connect to "+to, c.connect(t, to), unix.ECONNREFUSED) })
			requireCount(t, counts, "direct", 1)
		}
	}
	h.requireNoConnection(t)
	for family, address := range map[Family]string{unix.AF_INET: target4, unix.AF_INET6: target6} {
		requireErrno(t, "redirected connect", hooked.connect(t, at(address)), 0)
		h.claim(t, family)
	}
	h.allowDirect(t)
	for _, c := range []*process{hooked, free} {
		requireErrno(t, "direct connect that is allowed", c.connect(t, h.injectorAddr()), 0)
		conn, _ := accept(t, h.listeners[unix.AF_INET])
		h.requireNoFlow(t, conn)
	}
}

// A connection that died in the queue of the listener has its address taken by
// another before either is accepted. Each has what is its own.
func TestPortUsedAgainBeforeAccept(t *testing.T) {
	const from = "127.0.0.1:5000"
	h := newHost(t)
	h.allowDirect(t)
	attacker, victim := h.start(t, "attacker"), h.start(t, "victim")
	free := h.startIn(t, executable(t, "attacker"), lab.Place{Cgroup: lab.NewCgroup(t), Net: h.net})
	attacker.connectFrom(t, "s", from, h.injectorAddr())
	attacker.do(t, request{Do: "close", Socket: "s"})
	free.connectFrom(t, "s", from, h.injectorAddr())
	free.do(t, request{Do: "close", Socket: "s"})
	attacker.connectFrom(t, "s", from, at(target4))
	attacker.do(t, request{Do: "close", Socket: "s"})
	victim.connectFrom(t, "s", from, at(target4))
	victim.do(t, request{Do: "close", Socket: "s"})
	free.connectFrom(t, "s", from, h.injectorAddr())
	for _, owner := range []*process{nil, nil, attacker, victim, nil} {
		conn, client := accept(t, h.listeners[unix.AF_INET])
		if client.String() != from {
			t.Fatalf("accepted %v, want %s", client, from)
		}
		if owner == nil {
			h.requireNoFlow(t, conn)
		} else {
			h.requireFlowOf(t, conn, owner)
		}
	}
	h.requireUnfinished(t, 0)
}

// Once established, the connection waits for the injector whatever its socket
// does.
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
		if flow := h.claim(t, unix.AF_INET); flow.Client != unmapped(t, ends.Local) {
			t.Errorf("%s: the flow is of %v, want %s", what, flow.Client, ends.Local)
		}
	}
}

// fullInjector replaces the IPv4 listener by one that takes no further connection.
func (h *host) fullInjector(t *testing.T, c *process) (fd int) {
	t.Helper()
	must(t, h.listeners[unix.AF_INET].Close())
	delete(h.listeners, unix.AF_INET)
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
	must(t, h.probe.Ready(Readiness{NetNS: h.cookie, Family: unix.AF_INET, Ports: onlyAt(port), Routable: true}))
	requireErrno(t, "connect", c.connect(t, at(target4)), 0) // takes the only place
	h.requireUnfinished(t, 0)
	return fd
}

// acceptNext takes the next connection of a listener made by fullInjector.
func acceptNext(t *testing.T, listener int) net.Conn {
	t.Helper()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	must(t, err)
	file := os.NewFile(uintptr(fd), "accepted")
	defer file.Close()
	conn, err := net.FileConn(file)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
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

func TestFlowOfAConnectionThatNeverCameToBe(t *testing.T) {
	for how, leave := range map[string]func(t *testing.T, c *process){
		"close":      func(t *testing.T, c *process) { c.do(t, request{Do: "close", Socket: "w"}) },
		"disconnect": func(t *testing.T, c *process) { c.do(t, request{Do: "disconnect", Socket: "w"}) },
		"exit":       func(t *testing.T, c *process) { c.end(t) },
	} {
		t.Run(how, func(t *testing.T) {
			h := newHost(t)
			c := h.start(t, "billing")
			h.fullInjector(t, c)
			before := h.probe.Pending()
			c.waiting(t, "w")
			h.requireUnfinished(t, 1)
			counts := h.counts(t, func() {
				leave(t, c)
				h.requireUnfinished(t, 0)
			})
			requireCount(t, counts, "withdrawn", 1)
			if pending := h.probe.Pending(); pending != before {
				t.Errorf("%d connections count as open, want %d", pending, before)
			}
		})
	}
}

// Another's half-open connection is nobody's who takes its port, hooked or not.
func TestPortOfAHalfOpenConnection(t *testing.T) {
	h := newHost(t)
	h.allowDirect(t)
	c := h.start(t, "billing")
	listener := h.fullInjector(t, c)
	free := h.startIn(t, executable(t, "attacker"), lab.Place{Cgroup: lab.NewCgroup(t), Net: h.net})
	name, err := unix.Getsockname(listener)
	must(t, err)
	to := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	from := c.waiting(t, "w")
	c.do(t, request{Do: "close", Socket: "w"})
	free.socket(t, "s", to)
	free.do(t, request{Do: "option", Socket: "s", Option: "reuse address"})
	free.do(t, request{Do: "bind", Socket: "s", Addr: from})
	free.do(t, request{Do: "option", Socket: "s", Option: "no waiting"})
	free.try(t, request{Do: "connect", Socket: "s", Addr: to})
	h.requireFlowOf(t, acceptNext(t, listener), c) // took the only place
	h.requireNoFlow(t, acceptNext(t, listener))    // once the SYN was sent again
}

// A client may send, close and be gone before the listener has room for it. Its
// connection is completed later, with its flow.
func TestClosedWhileTheQueueIsFull(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	listener := h.fullInjector(t, c)
	from := c.waiting(t, "w")
	h.requireFlowOf(t, acceptNext(t, listener), c)
	lab.Eventually(t, waitLimit, func() error { // the SYN is sent again after a second
		got := c.try(t, request{Do: "write", Socket: "w", Option: "hello"})
		if got.Errno != 0 {
			return got.Errno
		}
		return nil
	})
	c.do(t, request{Do: "close", Socket: "w"})
	conn := acceptNext(t, listener)
	if conn.RemoteAddr().String() != from {
		t.Fatalf("accepted %v, want %s", conn.RemoteAddr(), from)
	}
	h.requireFlowOf(t, conn, c)
}

// With SYN cookies the listener remembers nothing of a handshake until its end.
func TestSYNCookies(t *testing.T) {
	h := newHost(t)
	must(t, h.net.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte("2"), 0)
	}))
	c := h.start(t, "billing")
	for range 20 {
		for family, address := range map[Family]string{unix.AF_INET: target4, unix.AF_INET6: target6} {
			requireErrno(t, "connect", c.connect(t, at(address)), 0)
			conn, _ := accept(t, h.listeners[family])
			h.requireFlowOf(t, conn, c)
		}
	}
}

func TestSecondConnectForgetsTheFirst(t *testing.T) {
	h := newHost(t)
	h.serve(t, "10.98.0.1:8081", "D")
	c := h.start(t, "billing")
	h.fullInjector(t, c)
	c.waiting(t, "w")
	h.requireUnfinished(t, 1)
	c.do(t, request{Do: "disconnect", Socket: "w"})
	ends := c.try(t, request{Do: "connect", Socket: "w", Addr: "10.98.0.1:8081"})
	if ends.Error != "" && ends.Errno != unix.EINPROGRESS {
		t.Fatalf("second connect: %s", ends.Error)
	}
	h.requireUnfinished(t, 0)
	if peer := c.do(t, request{Do: "ends", Socket: "w"}).Peer; peer != "10.98.0.1:8081" {
		t.Errorf("getpeername said %s of the second connection", peer)
	}
}

// A redirected connection whose flow finds no place is found by nobody.
func TestHandshakesFull(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	entries := int(h.probe.connect.Handshakes.MaxEntries())
	keys, values := make([]bpf.ConnectFlowKey, entries), make([]bpf.ConnectFlow, entries)
	for i := range keys {
		keys[i] = bpf.ConnectFlowKey{Netns: 1, LocalPort: uint32(i)}
	}
	_, err := h.probe.connect.Handshakes.BatchUpdate(keys, values, nil)
	must(t, err)
	counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
	requireCount(t, counts, "publish_failed", 1)
	conn, _ := accept(t, h.listeners[unix.AF_INET])
	h.requireNoFlow(t, conn)
	if pending := h.probe.Pending(); pending != 0 {
		t.Errorf("%d connections count as open, want none", pending)
	}
}
