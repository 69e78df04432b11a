//go:build linux

package main

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// portsAhead is how many ports a try takes of those that the kernel gives out next,
// which are every other one.
const portsAhead = 8

// ipv6MinHopCount is IPV6_MINHOPCOUNT, of Linux 2.6.35.
const ipv6MinHopCount = 73

// ahead has half-open connections under the source ports that the kernel gives the
// next callers for the same address: a socket that wants answers from no router
// further than itself gets none, so that the listener goes on waiting for it.
func (s *stranger) ahead(n int, _ *ring) {
	to := pick(s.targets, n)
	if to.mapped {
		return // the same addresses as those of the one before it
	}
	port := s.leaveHalfOpen(to, 0)
	for i := 1; port != 0 && i <= portsAhead; i++ {
		s.leaveHalfOpen(to, port+2*i)
	}
}

// leaveHalfOpen connects from a port, or one of the kernel's choice, drops what is
// answered, and leaves. It returns the port, 0 where that failed.
func (s *stranger) leaveHalfOpen(to address, port int) int {
	fd, err := unix.Socket(to.family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(dropAnswers(fd, to), bindLoopback(fd, to, port)); err != nil {
		s.busy.Add(1)
		return 0
	}
	if err := unix.Connect(fd, to.sockaddr()); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		s.refused.Add(1)
		return 0
	}
	return localPort(fd)
}

func dropAnswers(fd int, to address) error {
	if to.family() == unix.AF_INET {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, ipv6MinHopCount, 255)
}

func bindLoopback(fd int, to address, port int) error {
	if port == 0 {
		return nil
	}
	from := address{netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port)), false}
	if to.family() == unix.AF_INET {
		from.AddrPort = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	}
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, from.sockaddr()))
}

func localPort(fd int) int {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch at := name.(type) {
	case *unix.SockaddrInet4:
		return at.Port
	case *unix.SockaddrInet6:
		return at.Port
	}
	return 0
}
