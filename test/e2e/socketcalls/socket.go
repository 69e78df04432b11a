//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience ends a call that hangs, in milliseconds.
const patience = 10_000

// socket makes a TCP socket of the family, whose reads end in time.
func (c *caller) socket() int { return c.socketOf(unix.IPPROTO_TCP) }

func (c *caller) socketOf(protocol int) int {
	family := unix.AF_INET6
	if c.family == "4" {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	must(err)
	limit := unix.NsecToTimeval(patience * 1e6)
	must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	return fd
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// sockaddr is an address as the family writes it.
func (c *caller) sockaddr(addr netip.Addr, port int) unix.Sockaddr {
	if c.family == "4" {
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: addr.As16(), Port: port}
}

func (c *caller) server(number int) unix.Sockaddr { return c.sockaddr(c.address(number), serverPort) }

func (c *caller) connect(fd, server int) string { return named(unix.Connect(fd, c.server(server))) }

// connected is a socket that is connected to a server.
func (c *caller) connected(server int) int {
	fd := c.socket()
	c.heard("connect", c.connect(fd, server))
	return fd
}

// bind binds a socket to an address of this host, or to any where that is 0.
func (c *caller) bind(fd, address, port int) string {
	at := netip.IPv6Unspecified()
	switch {
	case address != 0:
		at = c.address(address)
	case c.family != "6":
		at = netip.IPv4Unspecified()
	}
	return named(unix.Bind(fd, c.sockaddr(at, port)))
}

// disconnect is connect(2) to no family.
func disconnect(fd int) string {
	var nowhere unix.RawSockaddrInet4 // family AF_UNSPEC
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nowhere)), unsafe.Sizeof(nowhere))
	if errno != 0 {
		return unix.ErrnoName(errno)
	}
	return "ok"
}

// named is the name of a call's error, or ok.
func named(err error) string {
	switch errno, is := err.(unix.Errno); {
	case err == nil:
		return "ok"
	case is:
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}

func (c *caller) own(fd int) string {
	at, err := unix.Getsockname(fd)
	if err != nil {
		return named(err)
	}
	return c.words(at)
}

func (c *caller) peer(fd int) string {
	at, err := unix.Getpeername(fd)
	if err != nil {
		return named(err)
	}
	return c.words(at)
}

// words names an address by what it is.
func (c *caller) words(at unix.Sockaddr) string {
	var addr netip.AddrPort
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		addr = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
	case *unix.SockaddrInet6:
		addr = netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port))
	}
	return c.wordsOf(addr)
}

func (c *caller) wordsOf(addr netip.AddrPort) string {
	port := fmt.Sprint(addr.Port())
	switch {
	case addr.Port() > 32767:
		port = "chosen port"
	case addr.Port() >= 20000:
		port = "bound port"
	}
	is := addr.Addr()
	what := fmt.Sprint("server ", last(is))
	switch plain := is.Unmap(); {
	case plain.IsLoopback():
		what = "loopback"
	case plain.IsUnspecified():
		what = "any"
	case plain == c.address(1):
		what = "own"
	case plain == c.address(9):
		what = "own second"
	}
	if is.Is4In6() {
		what = "mapped " + what
	}
	return what + ", " + port
}

// seen reads from where the server sees the connection come.
func (c *caller) seen(fd int) string {
	text := read(fd)
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return c.wordsOf(addr)
	}
	return text
}

func last(addr netip.Addr) string {
	text := addr.Unmap().String()
	return text[strings.LastIndexAny(text, ".:")+1:]
}

// pending reads SO_ERROR.
func pending(fd int) string {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return named(err)
	}
	if errno == 0 {
		return "none"
	}
	return unix.ErrnoName(unix.Errno(errno))
}

var states = map[uint8]string{1: "ESTABLISHED", 2: "SYN_SENT", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK"}

func info(fd int) *unix.TCPInfo {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	must(err)
	return i
}

func state(fd int) string { return states[info(fd).State] }

// wait polls for events and names those that came.
func wait(fd int, events int16) string {
	polled := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if n, err := unix.Poll(polled, patience); err != nil || n == 0 {
		return fmt.Sprint("nothing ", named(err))
	}
	var names []string
	for _, e := range []struct {
		bit  int16
		name string
	}{{unix.POLLIN, "IN"}, {unix.POLLOUT, "OUT"}, {unix.POLLRDHUP, "RDHUP"}, {unix.POLLHUP, "HUP"}, {unix.POLLERR, "ERR"}} {
		if polled[0].Revents&e.bit != 0 {
			names = append(names, e.name)
		}
	}
	return strings.Join(names, " ")
}

func write(fd int, text string) string {
	_, err := unix.SendmsgN(fd, []byte(text), nil, nil, unix.MSG_NOSIGNAL)
	return named(err)
}

// read reads once.
func read(fd int) string {
	buffer := make([]byte, 256)
	n, err := unix.Read(fd, buffer)
	switch {
	case err != nil:
		return named(err)
	case n == 0:
		return "end"
	}
	return strings.TrimSpace(string(buffer[:n]))
}

// echoed sends something and returns what comes back.
func echoed(fd int) string {
	if said := write(fd, "hello\n"); said != "ok" {
		return "write: " + said
	}
	return read(fd)
}

func nonBlocking(fd int) { must(unix.SetNonblock(fd, true)) }

func closeAll(fds ...int) {
	for _, fd := range fds {
		must(unix.Close(fd))
	}
}
