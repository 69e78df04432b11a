//go:build linux

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func connectRaw(fd int, at *unix.RawSockaddrAny, size uintptr) string {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(at)), size)
	return unix.ErrnoName(errno)
}

// bound connects from an address and port of this host, and says what the server sees.
func (c *caller) bound(fd, address, port int) {
	c.heard("bind", c.bind(fd, address, port))
	c.heard("getsockname before", c.own(fd))
	c.heard("connect", c.connect(fd, greets))
	c.ends("after", fd)
	c.heard("the server sees", c.seen(fd))
	closeAll(fd)
}

func boundPort(c *caller)    { c.bound(c.socket(), 0, c.nextPort()) }
func boundAddress(c *caller) { c.bound(c.socket(), 9, 0) }
func boundBoth(c *caller)    { c.bound(c.socket(), 9, c.nextPort()) }

func portLater(c *caller) {
	fd := c.socket()
	must(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
	c.bound(fd, 9, 0)
}

// reusing is a socket that is bound to a port, which others may be bound to as well.
func (c *caller) reusing(port int) int {
	fd := c.socket()
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	c.heard("bind", c.bind(fd, 0, port))
	return fd
}

func onePort(c *caller) {
	port := c.nextPort()
	first, second := c.reusing(port), c.reusing(port)
	c.heard("first connect", c.connect(first, echo))
	c.heard("second connect", c.connect(second, otherEcho))
	c.heard("first echo", echoed(first))
	c.heard("second echo", echoed(second))
	closeAll(first, second)
}

func onePortTwice(c *caller) {
	port := c.nextPort()
	first, second := c.reusing(port), c.reusing(port)
	c.heard("first connect", c.connect(first, echo))
	c.heard("second connect", c.connect(second, echo))
	closeAll(first, second)
}

func fastOpenConnect(c *caller) {
	fd := c.socket()
	c.heard("setsockopt", named(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)))
	is, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT)
	must(err)
	c.heard("getsockopt", map[int]string{0: "off", 1: "on"}[is])
	c.heard("connect", c.connect(fd, echo))
	c.heard("echo", echoed(fd))
	c.ends("after", fd)
	closeAll(fd)
}

func fastOpenMessage(c *caller) {
	fd := c.socket()
	c.heard("sendto", named(unix.Sendto(fd, []byte("hello\n"), unix.MSG_FASTOPEN, c.server(echo))))
	c.heard("echo", read(fd))
	c.ends("after", fd)
	closeAll(fd)
}

func multipath(c *caller) {
	fd := c.socketOf(unix.IPPROTO_MPTCP)
	c.heard("connect", c.connect(fd, echo))
	c.ends("after", fd)
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

// device leads to the servers; it is the first of its kind.
const device = "veth0"

func tiedBefore(c *caller) {
	fd := c.socket()
	c.heard("setsockopt", named(unix.BindToDevice(fd, device)))
	c.heard("connect", c.connect(fd, echo))
	c.ends("after", fd)
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func tiedAfter(c *caller) {
	fd := c.connected(echo)
	c.heard("setsockopt", named(unix.BindToDevice(fd, device)))
	c.heard("echo", echoed(fd))
	closeAll(fd)
}
