package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/sockdiag"
	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a condition.
const waitLimit = 20 * time.Second

// Users of the tests. Only root may end connections.
const (
	root     = 0
	ourUser  = 40110
	stranger = 40120
)

const port = 8700

// as runs f in a network namespace as a user, who is that of f's thread alone.
func as(ns *lab.NetNS, user uintptr, f func() error) error {
	return ns.Do(func() error {
		if user != root {
			if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, user, user, user); err != 0 {
				return fmt.Errorf("become user %d: %w", user, err)
			}
		}
		return f()
	})
}

// listenAs is TCP as a user.
func listenAs(t *testing.T, ns *lab.NetNS, user uintptr, address string) (l *Listener, err error) {
	t.Helper()
	failed := as(ns, user, func() error {
		l, err = TCP(t.Context(), Config{}, address)
		return nil
	})
	must(t, failed)
	return l, err
}

// mustListen closes the listener at the end.
func mustListen(t *testing.T, ns *lab.NetNS, user uintptr, address string) *Listener {
	t.Helper()
	l, err := listenAs(t, ns, user, address)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// socket is one that anybody could make.
type socket struct {
	options string // of "addr" and "port": SO_REUSEADDR and SO_REUSEPORT
	at      netip.Addr
	v6only  bool
}

// bind makes it as a user and binds it.
func (s socket) bind(ns *lab.NetNS, user uintptr) (fd int, err error) {
	err = as(ns, user, func() error {
		family := unix.AF_INET6
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: s.at.As16(), Port: port}
		if s.at.Is4() {
			family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: s.at.As4(), Port: port}
		}
		var failed error
		if fd, failed = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); failed != nil {
			return failed
		}
		for option, number := range map[string]int{"addr": unix.SO_REUSEADDR, "port": unix.SO_REUSEPORT} {
			if strings.Contains(s.options, option) {
				failed = errors.Join(failed, unix.SetsockoptInt(fd, unix.SOL_SOCKET, number, 1))
			}
		}
		if s.v6only {
			failed = errors.Join(failed, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
		}
		if failed == nil {
			failed = unix.Bind(fd, to)
		}
		if failed != nil {
			_ = unix.Close(fd)
		}
		return failed
	})
	return fd, err
}

// sockets lists those at an address.
func sockets(t *testing.T, ns *lab.NetNS, at netip.AddrPort) (found []sockdiag.Socket) {
	t.Helper()
	must(t, ns.Do(func() error {
		diag, err := sockdiag.Open()
		if err != nil {
			return err
		}
		found, err = diag.Overlapping(at)
		return errors.Join(err, diag.Close())
	}))
	return found
}

// awaitStates waits until these are the states at an address, and no process has one.
func awaitStates(t *testing.T, ns *lab.NetNS, at netip.AddrPort, want map[sockdiag.State]int) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(time.Millisecond) {
		found, held := map[sockdiag.State]int{}, 0
		for _, s := range sockets(t, ns, at) {
			found[s.State]++
			if s.Inode != 0 {
				held++
			}
		}
		if fmt.Sprint(found) == fmt.Sprint(want) && held == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sockets in these states: %v, want %v; processes have %d", found, want, held)
		}
	}
}

// connection is one between a client and a server in the namespace.
type connection struct{ client, server *net.TCPConn }

// connect makes a connection, which the user accepts, whose it is from then on. It is closed
// at the end.
func connect(t *testing.T, ns *lab.NetNS, user uintptr, l net.Listener, to netip.AddrPort) connection {
	t.Helper()
	var client, server net.Conn
	must(t, ns.Do(func() (err error) { client, err = net.DialTimeout("tcp", to.String(), waitLimit); return err }))
	t.Cleanup(func() { _ = client.Close() })
	must(t, as(ns, user, func() (err error) { server, err = l.Accept(); return err }))
	t.Cleanup(func() { _ = server.Close() })
	return connection{client.(*net.TCPConn), server.(*net.TCPConn)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
