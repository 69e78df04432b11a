//go:build linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func serverFirst(c *caller) {
	fd := c.connected(greets)
	c.heard("poll", wait(fd, unix.POLLIN))
	c.heard("the server sees", c.seen(fd))
	closeAll(fd)
}

func shutWriting(c *caller) {
	fd := c.connected(echo)
	c.heard("write", write(fd, "hello\n"))
	c.heard("shutdown", named(unix.Shutdown(fd, unix.SHUT_WR)))
	c.heard("write after", write(fd, "hello\n"))
	c.heard("read", read(fd))
	c.heard("read to the end", read(fd))
	c.heard("poll", wait(fd, unix.POLLIN|unix.POLLOUT|unix.POLLRDHUP))
	closeAll(fd)
}

func shutReading(c *caller) {
	fd := c.connected(echo)
	c.heard("shutdown", named(unix.Shutdown(fd, unix.SHUT_RD)))
	c.heard("read", read(fd))
	c.heard("write", write(fd, "hello\n"))
	closeAll(fd)
}

func serverCloses(c *caller) {
	fd := c.connected(closes)
	c.heard("poll", wait(fd, unix.POLLIN|unix.POLLRDHUP))
	c.heard("read", read(fd))
	c.heard("SO_ERROR", pending(fd))
	c.heard("state", state(fd))
	c.heard("write", write(fd, "hello\n"))
	c.heard("poll after", wait(fd, 0)) // the server's reset
	c.heard("SO_ERROR after", pending(fd))
	c.heard("write again", write(fd, "hello\n"))
	closeAll(fd)
}

func serverResets(c *caller) {
	fd := c.connected(resets)
	c.heard("write", write(fd, "hello\n"))
	c.heard("poll", wait(fd, unix.POLLIN|unix.POLLRDHUP))
	c.heard("read", read(fd))
	c.heard("read again", read(fd))
	c.heard("SO_ERROR", pending(fd))
	c.heard("getpeername", c.peer(fd))
	c.heard("state", state(fd))
	closeAll(fd)
}

// witnessed has the server told which connection this is.
func (c *caller) witnessed(server int) (fd int, name string) {
	fd, name = c.connected(server), fmt.Sprint(c.nextPort(), "-", c.family)
	c.heard("write", write(fd, name+"\n"))
	return fd, name
}

// ended asks the witness how a connection ended for the server.
func (c *caller) ended(name string) {
	fd := c.socket()
	must(unix.Connect(fd, c.sockaddr(c.address(witness), witnessPort)))
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	c.heard("ask", write(fd, name+"\n"))
	c.heard("the server sees", read(fd))
	closeAll(fd)
}

func closing(c *caller) {
	fd, name := c.witnessed(witness)
	c.heard("read", read(fd))
	closeAll(fd)
	c.ended(name)
}

func lingering(c *caller) {
	fd, name := c.witnessed(witness)
	c.heard("read", read(fd))
	must(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	closeAll(fd)
	c.ended(name)
}

func unread(c *caller) {
	fd, name := c.witnessed(greetsTwice)
	c.heard("poll", wait(fd, unix.POLLIN))
	closeAll(fd)
	c.ended(name)
}

func path(c *caller) {
	fd := c.connected(echo)
	c.heard("TCP_INFO: segment size", size(int(info(fd).Snd_mss)))
	mtu, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	if c.family == "6" {
		mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	}
	must(err)
	c.heard("MTU", size(mtu))
	closeAll(fd)
}

// size tells the device's from loopback's.
func size(bytes int) string {
	if bytes > 9000 {
		return "loopback's"
	}
	return "the device's"
}

func options(c *caller) {
	fd := c.connected(echo)
	for _, option := range []struct {
		name          string
		level, number int
		value         int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 7777},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, 5},
		{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, 3},
		{"SO_ACCEPTCONN", unix.SOL_SOCKET, unix.SO_ACCEPTCONN, -1},
		{"SO_DOMAIN", unix.SOL_SOCKET, unix.SO_DOMAIN, -1},
		{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, -1},
		{"SO_TYPE", unix.SOL_SOCKET, unix.SO_TYPE, -1},
		{"SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, -1},
	} {
		if option.value >= 0 {
			c.heard("set "+option.name, named(unix.SetsockoptInt(fd, option.level, option.number, option.value)))
		}
		is, err := unix.GetsockoptInt(fd, option.level, option.number)
		c.heard(option.name, fmt.Sprint(is, " ", named(err)))
	}
	c.heard("echo", echoed(fd))
	closeAll(fd)
}

func readLimit(c *caller) {
	fd := c.connected(echo)
	limit := unix.NsecToTimeval(20 * 1e6)
	must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	c.heard("read", read(fd))
	nonBlocking(fd)
	c.heard("read without waiting", read(fd))
	closeAll(fd)
}
