package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/sockdiag"
	"github.com/lanyardhq/lanyard/test/lab"
)

// where is an address to listen at, and those that a stranger's socket could have so that
// connections to the listener would come to it, or the other way round.
var where = []struct {
	address  string
	stranger []socket
}{
	{"127.0.0.1", []socket{{at: netip.MustParseAddr("127.0.0.1")}, {at: netip.IPv4Unspecified()}, {at: netip.IPv6Unspecified()}, {at: netip.MustParseAddr("::ffff:127.0.0.1")}}},
	{"[::1]", []socket{{at: netip.IPv6Loopback()}, {at: netip.IPv6Unspecified()}, {at: netip.IPv6Unspecified(), v6only: true}}},
	{"", []socket{{at: netip.MustParseAddr("127.0.0.1")}, {at: netip.IPv6Loopback()}, {at: netip.IPv4Unspecified()}, {at: netip.IPv6Unspecified()}, {at: netip.IPv6Unspecified(), v6only: true}}},
}

var optionMixes = []string{"", "addr", "port", "addr port"}

// bindAs is bind as our user, without regard to whatever diagnostics tell.
func bindAs(t *testing.T, ns *lab.NetNS, address string, shared bool) (l *Listener, err error) {
	t.Helper()
	must(t, as(ns, ourUser, func() error {
		l, _, err = Config{}.bind(t.Context(), fmt.Sprintf("%s:%d", address, port), shared)
		if err == nil && shared {
			err = l.stopSharing()
		}
		return nil
	}))
	return l, err
}

// TestNoOtherUserHasTheAddress: in both ways that a listener is bound, a socket of another
// user can be bound to its address neither before nor after, whatever options it has.
func TestNoOtherUserHasTheAddress(t *testing.T) {
	ns := lab.NewNetNS(t)
	for _, shared := range []bool{false, true} {
		for _, w := range where {
			for _, s := range w.stranger {
				for _, s.options = range optionMixes {
					name := fmt.Sprintf("shared %t, at %q, stranger %+v", shared, w.address, s)
					fd, err := s.bind(ns, stranger)
					must(t, err)
					if l, err := bindAs(t, ns, w.address, shared); !errors.Is(err, unix.EADDRINUSE) {
						t.Errorf("%s bound before: %v", name, err)
						if err == nil {
							_ = l.Close()
						}
					}
					must(t, unix.Close(fd))
					l, err := bindAs(t, ns, w.address, shared)
					must(t, err)
					if fd, err := s.bind(ns, stranger); !errors.Is(err, unix.EADDRINUSE) {
						t.Errorf("%s bound after: %v", name, err)
						_ = unix.Close(fd)
					}
					must(t, l.Close())
				}
			}
		}
	}
}

// TestTheErrorSaysWhoHasTheAddress: as far as the kernel tells, which is since Linux 6.8
// for sockets that are only bound.
func TestTheErrorSaysWhoHasTheAddress(t *testing.T) {
	ns := lab.NewNetNS(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()
	for _, user := range []uintptr{root, ourUser} {
		other := mustListen(t, ns, stranger, at)
		_, err := listenAs(t, ns, user, at)
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), fmt.Sprintf("a process of user %d has a socket there, in state LISTEN", stranger)) {
			t.Errorf("as user %d: %v", user, err)
		}
		must(t, other.Close())
		fd, err := socket{options: "addr port", at: netip.MustParseAddr("127.0.0.1")}.bind(ns, stranger)
		must(t, err)
		_, err = listenAs(t, ns, user, at)
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "`ss -tanp") {
			t.Errorf("as user %d: %v", user, err)
		}
		must(t, unix.Close(fd))
	}
}

// TestListenAgain: a process that ended, or was killed, leaves connections at its address.
// The next one listens at once: where it may, it ends those that have nothing to deliver,
// and it is beside the others.
func TestListenAgain(t *testing.T) {
	for _, user := range []uintptr{root, ourUser} {
		for address, to := range map[string]string{"127.0.0.1": "127.0.0.1", "[::1]": "::1", "": "127.0.0.1"} {
			t.Run(fmt.Sprintf("user %d at %q", user, address), func(t *testing.T) {
				ns := lab.NewNetNS(t)
				listening := fmt.Sprintf("%s:%d", address, port)
				at := netip.AddrPortFrom(netip.MustParseAddr(to), port)
				unread := leave(t, ns, user, mustListen(t, ns, user, listening), at)

				again := mustListen(t, ns, user, listening)
				left := len(sockets(t, ns, at)) - 1
				if user == root && left != 1 {
					t.Errorf("%d connections of a former process are left, want the one that still delivers", left)
				}
				if user != root && left < 3 {
					t.Errorf("%d connections of a former process are left, and nobody was to end them", left)
				}
				checkAlone(t, ns, again, listening, user)
				connect(t, ns, user, again, at)
				checkDelivered(t, unread)
			})
		}
	}
}

// sentUnread is how much is written to a client that does not read: more than is
// acknowledged then.
const sentUnread = 1 << 16

// leave ends a listener with connections whose clients still have theirs, have closed it,
// and read nothing of what they are sent. It returns the client of the last.
func leave(t *testing.T, ns *lab.NetNS, user uintptr, l *Listener, at netip.AddrPort) (unreading *net.TCPConn) {
	t.Helper()
	kept, closed, unread := connect(t, ns, user, l, at), connect(t, ns, user, l, at), connect(t, ns, user, l, at)
	must(t, unread.client.SetReadBuffer(4096))
	must(t, unread.server.SetWriteBuffer(sentUnread))
	_, err := unread.server.Write(make([]byte, sentUnread))
	must(t, err)
	must(t, l.Close())
	for _, c := range []connection{kept, closed, unread} {
		must(t, c.server.Close())
	}
	must(t, closed.client.Close())
	awaitStates(t, ns, at, map[sockdiag.State]int{sockdiag.FinWait2: 1, sockdiag.TimeWait: 1, sockdiag.FinWait1: 1})
	return unread.client
}

// checkDelivered reads all that was sent before the connection was closed.
func checkDelivered(t *testing.T, client *net.TCPConn) {
	t.Helper()
	must(t, client.SetReadDeadline(time.Now().Add(waitLimit)))
	if n, err := io.Copy(io.Discard, client); err != nil || n != sentUnread {
		t.Errorf("%d of %d bytes were delivered, then %v", n, sentUnread, err)
	}
}

// checkAlone looks at a listener's options, and that the same program, started a second
// time by mistake, does not come to share its connections.
func checkAlone(t *testing.T, ns *lab.NetNS, l *Listener, address string, user uintptr) {
	t.Helper()
	raw, err := l.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if value, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option); err != nil || value != 0 {
				t.Errorf("the listener's option %d is %d, %v", option, value, err)
			}
		}
	}))
	if second, err := listenAs(t, ns, user, address); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second one listens there: %v", err)
		if err == nil {
			_ = second.Close()
		}
	}
}

// TestWhatAProcessHasIsNotEnded: beside leftovers, a connection that a process still has is
// nobody's to end, nor are they then.
func TestWhatAProcessHasIsNotEnded(t *testing.T) {
	for _, address := range []string{"127.0.0.1", ""} {
		ns := lab.NewNetNS(t)
		listening := fmt.Sprintf("%s:%d", address, port)
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		l := mustListen(t, ns, root, listening)
		open, half, left := connect(t, ns, root, l, at), connect(t, ns, root, l, at), connect(t, ns, root, l, at)
		must(t, l.Close())
		must(t, half.server.CloseWrite())
		must(t, left.server.Close())
		_, err := listenAs(t, ns, root, listening)
		if held := (*heldError)(nil); !errors.As(err, &held) || !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("at %q: %v", address, err)
		}
		if n := len(sockets(t, ns, at)); n != 3 {
			t.Errorf("at %q: %d of 3 connections are left", address, n)
		}
		for _, c := range []connection{open, half} {
			checkAlive(t, c)
			must(t, c.server.Close())
		}
		mustListen(t, ns, root, listening)
	}
}

func checkAlive(t *testing.T, c connection) {
	t.Helper()
	if _, err := c.client.Write([]byte("x")); err != nil {
		t.Errorf("write: %v", err)
	}
	if n, err := c.server.Read(make([]byte, 1)); n != 1 {
		t.Errorf("read: %v", err)
	}
}

// TestOthersAreLeftAlone: what was left at another address or port is somebody else's.
func TestOthersAreLeftAlone(t *testing.T) {
	ns := lab.NewNetNS(t)
	own := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	others := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port), netip.AddrPortFrom(own.Addr(), port+1), netip.AddrPortFrom(netip.IPv6Loopback(), port)}
	for _, at := range append(others, own) {
		leave(t, ns, root, mustListen(t, ns, root, at.String()), at)
	}
	mustListen(t, ns, root, own.String())
	for _, at := range others {
		if n := len(sockets(t, ns, at)); n != 3 {
			t.Errorf("%d of 3 connections are left at %v", n, at)
		}
	}
	if n := len(sockets(t, ns, own)); n != 2 {
		t.Errorf("%d sockets are at %v, want the listener and what still delivers", n, own)
	}
}

// TestWhatStillDeliversIsNotCutOff: a connection of another user, from an address that a
// wildcard comprises, delivers all that was written before it was closed. Listening is an
// error until it has.
func TestWhatStillDeliversIsNotCutOff(t *testing.T) {
	for _, address := range []string{"127.0.0.1", ""} {
		t.Run(fmt.Sprintf("at %q", address), func(t *testing.T) {
			ns := lab.NewNetNS(t)
			client := connectFrom(t, ns, stranger, netip.MustParseAddr("127.0.0.1"))
			listening := fmt.Sprintf("%s:%d", address, port)
			_, err := listenAs(t, ns, root, listening)
			if sending := (*sendingError)(nil); !errors.As(err, &sending) || !errors.Is(err, unix.EADDRINUSE) || sending.bytes == 0 || sending.bytes > sentUnread {
				t.Errorf("while it delivers: %v", err)
			}
			checkDelivered(t, client)
			awaitStates(t, ns, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), map[sockdiag.State]int{sockdiag.FinWait2: 1})
			mustListen(t, ns, root, listening)
		})
	}
}

// connectFrom makes a connection from an address and our port as a user, who writes to it,
// closes it, and has no socket then. It returns its other end, which has read nothing.
func connectFrom(t *testing.T, ns *lab.NetNS, user uintptr, from netip.Addr) (peer *net.TCPConn) {
	t.Helper()
	must(t, as(ns, user, func() error {
		l, err := net.Listen("tcp", "127.0.0.3:0")
		if err != nil {
			return err
		}
		defer l.Close()
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, port)), Timeout: waitLimit}
		c, err := dialer.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		other, err := l.Accept()
		if err != nil {
			return err
		}
		peer = other.(*net.TCPConn)
		if err := errors.Join(peer.SetReadBuffer(4096), c.(*net.TCPConn).SetWriteBuffer(sentUnread)); err != nil {
			return err
		}
		_, err = c.Write(make([]byte, sentUnread))
		return err
	}))
	t.Cleanup(func() { _ = peer.Close() })
	awaitStates(t, ns, netip.AddrPortFrom(from, port), map[sockdiag.State]int{sockdiag.FinWait1: 1})
	return peer
}

func TestListenIsAnErrorWithoutSuchAnAddress(t *testing.T) {
	ns := lab.NewNetNS(t)
	for _, address := range []string{"127.0.0.1", "127.0.0.1:70000", "10.99.0.1:8700"} {
		if l, err := listenAs(t, ns, root, address); err == nil {
			t.Errorf("%q: %v", address, l.Addr())
			_ = l.Close()
		}
	}
}
