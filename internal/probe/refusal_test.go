//go:build linux

package probe

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A refused program hears what it would hear of a server that is away, whatever the
// kernel: of EPERM no runtime thinks that it may try another server.
func TestRefusalIsARefusedConnection(t *testing.T) {
	for name, older := range map[string]bool{"by its name": false, "by port 0 of loopback": true} {
		t.Run(name, func(t *testing.T) {
			h := newBareHost(t)
			h.config.olderKernel = older
			h.net.AddLocal(t, open4+"/32")
			h.startAgent(t)
			h.run()
			h.watch(t, everyone(watched))
			h.close46(t)
			h.serve(t, at(target4), "D")
			h.serve(t, at(target6), "D")
			h.serve(t, at(open4), "D")
			c := h.start(t, "billing")
			for _, address := range []string{target4, target6, "::ffff:" + target4} {
				requireErrno(t, "connect to "+address, c.connect(t, at(address)), unix.ECONNREFUSED)
				h.requireUsableAfterRefusal(t, c, address)

				c.socket(t, "s", at(address))
				c.do(t, request{Do: "option", Socket: "s", Option: "no waiting"})
				begun := c.try(t, request{Do: "connect", Socket: "s", Addr: at(address)})
				if begun.Errno == unix.EINPROGRESS && (older || !namesErrors()) {
					begun = c.try(t, request{Do: "finish", Socket: "s"})
				}
				requireErrno(t, "connect to "+address+" without waiting", begun, unix.ECONNREFUSED)
			}

			want := unix.ECONNREFUSED
			if older || !namesErrors() {
				want = unix.EPERM // docs/kernels.md says why
			}
			c.socket(t, "s", at(target4))
			requireErrno(t, "tie", c.tie(t, "s", "device"), 0)
			requireErrno(t, "connect by a device", c.try(t, request{Do: "connect", Socket: "s", Addr: at(target4)}), want)
		})
	}
}

// requireUsableAfterRefusal requires that a socket whose connect() was refused has no
// other end, and connects elsewhere.
func (h *host) requireUsableAfterRefusal(t *testing.T, c *process, refused string) {
	t.Helper()
	if peer := c.do(t, request{Do: "ends", Socket: "s"}).Peer; peer != "" {
		t.Errorf("after the refusal of %s the socket has the other end %s", refused, peer)
	}
	if !netip.MustParseAddr(refused).Is4() {
		return
	}
	requireErrno(t, "connect elsewhere", c.try(t, request{Do: "connect", Socket: "s", Addr: at(open4)}), 0)
	if greeting := c.do(t, request{Do: "read", Socket: "s"}).Text; greeting != "D" {
		t.Errorf("read %q, want the destination's own greeting", greeting)
	}
}
