//go:build linux && lanyard_guest

package probe

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A socket in a VRF cannot reach loopback, where the injector listens: the fail
// policy answers at once.
func TestVRF(t *testing.T) {
	h := newClosedHost(t)
	const device, table = "vrf0", 10
	must(t, h.net.Do(func() error {
		vrf := &netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: device}, Table: table}
		if err := netlink.LinkAdd(vrf); err != nil {
			return err
		}
		for _, address := range []string{"10.96.0.1/32", "10.96.0.2/32"} {
			local, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(vrf, local); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(vrf)
	}))
	h.close46(t, "10.96.0.1")
	serveInDevice(t, h, device, at("10.96.0.2"), "V")
	c := h.start(t, "billing")
	connect := func(addr string) response {
		c.socket(t, "v", addr)
		c.do(t, request{Do: "option", Socket: "v", Option: "device", Path: device})
		return c.try(t, request{Do: "connect", Socket: "v", Addr: addr})
	}
	counts := h.counts(t, func() { requireErrno(t, "connect to closed", connect(at("10.96.0.1")), unix.ECONNREFUSED) })
	requireCount(t, counts, "bound_device", 1)
	counts = h.counts(t, func() { requireErrno(t, "connect", connect(at("10.96.0.2")), 0) })
	requireCount(t, counts, "bound_device", 1)
	requireCount(t, counts, "passed", 1)
	if greeting := c.do(t, request{Do: "read", Socket: "v"}).Text; greeting != "V" {
		t.Errorf("read %q, want the greeting from inside the VRF", greeting)
	}
	h.requireNoConnection(t)
}

func serveInDevice(t *testing.T, h *host, device, address, greeting string) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bindErr error
		err := c.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), device) })
		if err == nil {
			err = bindErr
		}
		return err
	}}
	config.SetMultipathTCP(false)
	var listener net.Listener
	must(t, h.net.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp", address)
		return err
	}))
	h.greet(t, listener, greeting)
}
