//go:build linux

package main

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// attacks are the attacks by name. Each makes one try; what it leaves open for later
// it puts into the ring.
var attacks = map[string]func(s *stranger, n int, held *ring){
	"dead":       (*stranger).dead,
	"redirected": (*stranger).redirected,
	"half-open":  (*stranger).halfOpen,
	"unhooked":   (*stranger).unhooked,
	"rebinding":  (*stranger).rebinding,
	"twin":       (*stranger).twin,
	"local":      (*stranger).localAPI,
	"local-twin": (*stranger).localTwin,
	"handed":     (*stranger).handed,
	"ahead":      (*stranger).ahead,
}

func pick(list []address, n int) address { return list[n%len(list)] }

// dead leaves a connection to the injector in its queue, dead, with its request.
func (s *stranger) dead(n int, _ *ring) { s.leaveDead(pick(s.injector, n), n) }

// redirected does the same by a connection that the hooks send to the injector.
func (s *stranger) redirected(n int, _ *ring) { s.leaveDead(pick(s.targets, n), n) }

func (s *stranger) leaveDead(to address, n int) {
	fd := s.open(to, source(n/8)%sources)
	if fd < 0 {
		return
	}
	send(fd, s.request(n))
	switch n / 32 % 4 {
	case 0:
		disconnect(fd)
	case 1:
		_ = unix.Shutdown(fd, unix.SHUT_WR)
	}
	reset(fd)
}

// halfOpen has connections wait for their end at a listener that has no room, sends
// on them later, and leaves. Every other has its request in the SYN.
func (s *stranger) halfOpen(n int, held *ring) {
	to := pick(s.injector, n)
	if s.hooked && n/8%2 == 0 {
		to = pick(s.targets, n)
	}
	var fd int
	if n%2 == 0 {
		fd = s.begin(to, source(n/16)%sources, func(fd int) error {
			return unix.Sendto(fd, []byte(s.request(n)), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, to.sockaddr())
		})
	} else {
		fd = s.start(to, source(n/16)%sources)
	}
	if fd >= 0 {
		held.put(fd, n)
	}
}

// unhooked takes a port of the victim's, asks, and waits for the answer.
func (s *stranger) unhooked(n int, _ *ring) {
	fd := s.open(pick(s.injector, n), source(n/8)%sources)
	if fd < 0 {
		return
	}
	send(fd, s.request(n))
	s.listen(fd, n, 100*time.Millisecond)
	reset(fd)
}

// rebinding changes what a socket or a port is connected to, at each stage.
func (s *stranger) rebinding(n int, held *ring) {
	first, second := pick(s.targets, n), pick(s.injector, n)
	if n/8%2 == 0 {
		first, second = second, first
	}
	stage := n / 64 % 4
	connect := s.open
	if stage == 0 {
		connect = s.start
	}
	fd := connect(first, source(n/16)%sources)
	if fd < 0 {
		return
	}
	switch stage {
	case 2: // after the first byte
		send(fd, s.request(n))
	case 3: // after the last
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	disconnect(fd)
	_ = unix.SetNonblock(fd, true)
	if err := unix.Connect(fd, second.sockaddr()); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd) // somebody has the address there, or it is refused
		return
	}
	held.put(fd, n)
}

// localAPI asks the local API for the token of whoever has the port otherwise.
func (s *stranger) localAPI(n int, _ *ring) {
	to := pick(s.local, n)
	fd := s.open(to, source(n/8)%sources)
	if fd < 0 {
		return
	}
	send(fd, s.localRequest())
	if n/32%2 == 0 {
		s.listen(fd, n, 100*time.Millisecond)
	}
	reset(fd)
}

// handed has the victim write the request, on a connection that is not its own.
func (s *stranger) handed(n int, _ *ring) {
	to := pick(s.injector, n)
	if s.hooked && n%2 == 0 {
		to = pick(s.targets, n)
	}
	fd := s.open(to, source(n/8)%sources)
	if fd < 0 {
		return
	}
	defer reset(fd)
	socket, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.hands, Net: "unixgram"})
	if err != nil {
		s.refused.Add(1)
		return
	}
	defer func() { _ = socket.Close() }()
	if _, _, err := socket.WriteMsgUnix([]byte(s.request(n)), unix.UnixRights(fd), nil); err == nil {
		s.listen(fd, n, 100*time.Millisecond)
	}
}

// goOn makes requests on a connection that another program opened before it became
// this one.
func (s *stranger) goOn() {
	for n := range s.tries {
		send(3, s.request(n))
		s.listen(3, n, time.Second)
		s.done.Add(1)
	}
}
