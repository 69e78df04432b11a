//go:build linux

package attack

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A bystander's server may have the port of one of the injector's listeners on another
// address: the kernel gives it to whoever binds that address and asks for any port.
func TestServersOnTheInjectorsPorts(t *testing.T) {
	w := newWorld(t, nil)
	for listener, addresses := range map[string][]string{w.injector(t, false): {"127.0.0.2", "10.98.0.2"}, w.injector(t, true): {"fd98::2"}} {
		port := netip.MustParseAddrPort(listener).Port()
		for _, address := range addresses {
			at := netip.AddrPortFrom(netip.MustParseAddr(address), port).String()
			var server net.Listener
			err := w.net.Do(func() (err error) { server, err = net.Listen("tcp", at); return err })
			if err != nil {
				t.Fatal(err)
			}
			client, err := w.dial(t.Context(), "tcp", at)
			if err != nil {
				t.Errorf("a bystander's server has the port of the injector's %s on its own address: %v", listener, err)
			} else {
				_ = client.Close()
			}
			_ = server.Close()
		}
	}
}

// injector returns the address of one of the injector's listeners.
func (w *world) injector(t *testing.T, v6 bool) string {
	t.Helper()
	for _, at := range w.injectors {
		if netip.MustParseAddrPort(at).Addr().Is6() == v6 {
			return at
		}
	}
	t.Fatalf("no listener: %v", w.injectors)
	return ""
}

// Two sockets that both say SO_REUSEADDR have one address until one of them listens: so
// another user's, bound between the agent's bind and its listen, would have the address of
// the injector's listener, and connections of those who are redirected there.
func TestInjectorSharesItsAddressWithNobody(t *testing.T) {
	w := newWorld(t, nil)
	pid, err := unix.PidfdOpen(w.agent.Cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pid) }()
	ours := map[uint16]bool{}
	for _, at := range w.injectors {
		ours[netip.MustParseAddrPort(at).Port()] = true
	}
	found := 0
	for target := range 256 {
		fd, err := unix.PidfdGetfd(pid, target, 0)
		if err != nil {
			continue
		}
		listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		shared, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
		if name, err := unix.Getsockname(fd); err == nil && listens == 1 && ours[portOf(name)] {
			found++
			if shared != 0 {
				t.Errorf("the injector's listener at port %d says SO_REUSEADDR", portOf(name))
			}
		}
		_ = unix.Close(fd)
	}
	if found != len(w.injectors) {
		t.Errorf("%d listeners were found, want %d", found, len(w.injectors))
	}
}

func portOf(name unix.Sockaddr) uint16 {
	switch at := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(at.Port)
	case *unix.SockaddrInet6:
		return uint16(at.Port)
	}
	return 0
}
