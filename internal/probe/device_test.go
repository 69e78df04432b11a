//go:build linux

package probe

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// tie ties a client's socket to loopback's device in one of two ways.
func (c *process) tie(t *testing.T, socket, how string) response {
	t.Helper()
	return c.try(t, request{Do: "option", Socket: socket, Option: how, Path: "lo", Number: 1})
}

// A redirected socket that is tied to a device keeps no other from having its four
// addresses: then a part of what is meant for one is answered by the other, or reset.
func TestRedirectedSocketIsNotTiedToADevice(t *testing.T) {
	h := newClosedHost(t)
	c := h.start(t, "billing")
	full := h.fullInjector(t, c)
	c.waiting(t, "half open")
	for _, how := range []string{"device", "device by index"} {
		t.Run(how, func(t *testing.T) {
			requireErrno(t, "half open", c.tie(t, "half open", how), unix.EPERM)
			requireErrno(t, "established", c.tie(t, "s", how), unix.EPERM)
			c.socket(t, "new", at(target4))
			requireErrno(t, "before it connects", c.tie(t, "new", how), 0)
		})
	}
	h.requireFlowOf(t, acceptNext(t, full), c)
	h.requireFlowOf(t, acceptNext(t, full), c)
	c.do(t, request{Do: "disconnect", Socket: "half open"})
	requireErrno(t, "given up", c.tie(t, "half open", "device"), 0)
}

// Nobody else's options are the hook's business.
func TestOptionsOfOtherSockets(t *testing.T) {
	h := newClosedHost(t)
	h.serve(t, "10.98.0.1:8081", "D")
	c := h.start(t, "billing")
	c.socket(t, "own way", "10.98.0.1:8081")
	c.do(t, request{Do: "connect", Socket: "own way", Addr: "10.98.0.1:8081"})
	requireErrno(t, "a socket that was not redirected", c.tie(t, "own way", "device"), 0)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	c.do(t, request{Do: "disconnect", Socket: "s"})
	c.do(t, request{Do: "connect", Socket: "s", Addr: "10.98.0.1:8081"})
	requireErrno(t, "a socket that was redirected before", c.tie(t, "s", "device"), 0)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	for _, length := range []int{4, 4096, 4097, 100_000} {
		requireErrno(t, "another option", c.try(t, request{Do: "option", Socket: "s", Option: "long value", Number: length}), 0)
	}
	free := h.startIn(t, executable(t, "free"), lab.Place{Cgroup: lab.NewCgroup(t), Net: h.net})
	free.socket(t, "s", at(target4))
	requireErrno(t, "outside the cgroup", free.tie(t, "s", "device"), 0)
}
