//go:build linux

package main

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// calls are all of them, by the names that docs/kernels.md uses.
var calls = []struct {
	name string
	make func(*caller)
}{
	{"connect", blocking},
	{"connect without waiting", withoutWaiting},
	{"connect with a time limit", withTimeLimit},
	{"connect again after disconnecting", disconnecting},
	{"connect to the unspecified address", toUnspecified},
	{"connect a listening socket", listening},
	{"connect with a wrong address", wrongAddress},
	{"connect to a port where nobody listens", toNobody},
	{"connect there without waiting", toNobodyWithoutWaiting},
	{"connect to a network without a route", toNowhere},
	{"connect to a host that cannot be reached", toUnreachable},
	{"bind to a port", boundPort},
	{"bind to an address", boundAddress},
	{"bind to an address and a port", boundBoth},
	{"bind to an address, port later", portLater},
	{"one port to two servers", onePort},
	{"one port to one server, twice", onePortTwice},
	{"Fast Open by TCP_FASTOPEN_CONNECT", fastOpenConnect},
	{"Fast Open by MSG_FASTOPEN", fastOpenMessage},
	{"MPTCP", multipath},
	{"tie to a device, then connect", tiedBefore},
	{"connect, then tie to a device", tiedAfter},
	{"no connection", unconnected},
	{"the server speaks first", serverFirst},
	{"shut down writing", shutWriting},
	{"shut down reading", shutReading},
	{"the server closes", serverCloses},
	{"the server resets", serverResets},
	{"close", closing},
	{"close with a reset", lingering},
	{"close with data unread", unread},
	{"the way there", path},
	{"options", options},
	{"read with a time limit", readLimit},
}

func (c *caller) ends(step string, fd int) {
	c.heard("getsockname "+step, c.own(fd))
	c.heard("getpeername "+step, c.peer(fd))
}

func blocking(c *caller) {
	fd := c.socket()
	c.ends("before", fd)
	c.heard("state before", state(fd))
	c.heard("connect", c.connect(fd, echo))
	c.ends("after", fd)
	c.heard("SO_ERROR", pending(fd))
	c.heard("state", state(fd))
	c.heard("connect again", c.connect(fd, echo))
	c.heard("connect elsewhere", c.connect(fd, otherEcho))
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func withoutWaiting(c *caller) {
	fd := c.socket()
	nonBlocking(fd)
	c.heard("connect", c.connect(fd, echo))
	c.heard("getsockname at once", c.own(fd))
	c.heard("poll", wait(fd, unix.POLLOUT|unix.POLLIN))
	c.heard("SO_ERROR", pending(fd))
	c.heard("connect again", c.connect(fd, echo))
	c.heard("and again", c.connect(fd, echo))
	c.ends("after", fd)
	closeAll(fd)
}

func withTimeLimit(c *caller) {
	fd := c.socket()
	limit := unix.NsecToTimeval(patience * 1e6)
	must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	c.heard("connect", c.connect(fd, echo))
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func disconnecting(c *caller) {
	fd := c.connected(echo)
	c.heard("disconnect", disconnect(fd))
	c.ends("disconnected", fd)
	c.heard("state disconnected", state(fd))
	c.heard("connect again", c.connect(fd, otherEcho))
	c.ends("after", fd)
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func toUnspecified(c *caller) {
	fd := c.socket()
	to := netip.IPv6Unspecified()
	if c.family != "6" {
		to = netip.IPv4Unspecified()
	}
	c.heard("connect", named(unix.Connect(fd, c.sockaddr(to, serverPort))))
	c.ends("after", fd)
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func listening(c *caller) {
	fd := c.socket()
	c.heard("bind", c.bind(fd, 0, 0))
	must(unix.Listen(fd, 1))
	c.heard("connect", c.connect(fd, echo))
	closeAll(fd)
}

func wrongAddress(c *caller) {
	fd := c.socket()
	var at unix.RawSockaddrAny
	at.Addr.Family = unix.AF_APPLETALK
	c.heard("another family", connectRaw(fd, &at, unix.SizeofSockaddrAny))
	at.Addr.Family = unix.AF_INET
	if c.family != "4" {
		at.Addr.Family = unix.AF_INET6
	}
	c.heard("too short", connectRaw(fd, &at, 4))
	closeAll(fd)
}

func toNobody(c *caller) {
	fd := c.socket()
	c.heard("connect", c.connect(fd, nobody))
	c.heard("SO_ERROR", pending(fd))
	c.heard("getpeername", c.peer(fd))
	c.heard("read", read(fd))
	c.heard("connect elsewhere", c.connect(fd, echo))
	closeAll(fd)
}

func toNobodyWithoutWaiting(c *caller) {
	fd := c.socket()
	nonBlocking(fd)
	c.heard("connect", c.connect(fd, nobody))
	c.heard("poll for writing", wait(fd, unix.POLLOUT))
	c.heard("SO_ERROR", pending(fd))
	c.heard("poll for reading", wait(fd, unix.POLLIN))
	closeAll(fd)
}

func toNowhere(c *caller)     { c.toDeadEnd("10.99.99.1", "fd99::1") }
func toUnreachable(c *caller) { c.toDeadEnd("10.97.99.1", "fd97::1") }

func (c *caller) toDeadEnd(v4, v6 string) {
	to := netip.MustParseAddr(v4)
	if c.family == "6" {
		to = netip.MustParseAddr(v6)
	}
	fd := c.socket()
	c.heard("connect", named(unix.Connect(fd, c.sockaddr(to, serverPort))))
	c.heard("read", read(fd))
	closeAll(fd)
}

func unconnected(c *caller) {
	fd := c.socket()
	c.ends("of a new socket", fd)
	c.heard("write", write(fd, "x"))
	c.heard("read", read(fd))
	c.heard("shutdown", named(unix.Shutdown(fd, unix.SHUT_RDWR)))
	c.heard("poll", wait(fd, unix.POLLIN|unix.POLLOUT))
	closeAll(fd)
}
