//go:build linux

package main

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ipLocalPortRange is IP_LOCAL_PORT_RANGE, of Linux 6.3.
const ipLocalPortRange = 51

// address is where a socket connects to; an IPv4 one may be used by an IPv6 socket.
type address struct {
	netip.AddrPort
	mapped bool
}

// addressInto returns the action of a flag: an IPv4 address counts twice, for it has
// two kinds of sockets.
func addressInto(list *[]address) func(string) error {
	return func(text string) error {
		at, err := netip.ParseAddrPort(text)
		*list = append(*list, address{at, false})
		if at.Addr().Is4() {
			*list = append(*list, address{at, true})
		}
		return err
	}
}

func (a address) family() int {
	if a.Addr().Is4() && !a.mapped {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (a address) sockaddr() unix.Sockaddr {
	if a.family() == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// source is how a socket gets its port.
type source int

const (
	bound     source = iota // by bind, with SO_REUSEADDR
	shared                  // and with SO_REUSEPORT
	automatic               // by the kernel, from the range
	sources
)

// socket makes a socket for an address whose port is one that the victim uses too.
func (s *stranger) socket(to address, from source) (int, error) {
	fd, err := unix.Socket(to.family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := s.prepare(fd, to, from); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *stranger) prepare(fd int, to address, from source) error {
	second := unix.Timeval{Sec: 1}
	err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &second), // of connect as well
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &second),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if err != nil {
		return err
	}
	if from == automatic {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, ipLocalPortRange, s.high<<16|s.low)
		if !errors.Is(err, unix.ENOPROTOOPT) {
			return err
		}
	}
	if from == shared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
	}
	port := s.low + rand.IntN(s.high-s.low+1)
	if to.family() == unix.AF_INET {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Port: port})
}

// begin makes a socket and has it connect, from one port after another until one is
// free. It is -1 if none was, or the connection was refused. A socket that does not
// wait may still be connecting.
func (s *stranger) begin(to address, from source, connect func(fd int) error) int {
	for range 64 {
		fd, err := s.socket(to, from)
		if err == nil {
			err = connect(fd)
		}
		if err == nil || errors.Is(err, unix.EINPROGRESS) {
			return fd
		}
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		if !isBusy(err) {
			s.refused.Add(1)
			return -1
		}
		time.Sleep(200 * time.Microsecond)
	}
	s.busy.Add(1)
	return -1
}

// open connects and waits until that is done.
func (s *stranger) open(to address, from source) int {
	return s.begin(to, from, func(fd int) error { return unix.Connect(fd, to.sockaddr()) })
}

// start connects and does not wait.
func (s *stranger) start(to address, from source) int {
	return s.begin(to, from, func(fd int) error {
		return errors.Join(unix.SetNonblock(fd, true), unix.Connect(fd, to.sockaddr()))
	})
}

func isBusy(err error) bool {
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL)
}

func send(fd int, request string) {
	_ = unix.Sendto(fd, []byte(request), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil) // the connection may have ended
}

// reset closes a connection so that its address is free at once.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// disconnect makes a socket one that is not connected, but still has its port.
func disconnect(fd int) {
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), addressOf(&unspecified), unix.SizeofSockaddrInet6)
}
