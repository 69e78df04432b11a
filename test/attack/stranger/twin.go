//go:build linux

package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// A program that says it will send at once has its last acknowledgement delayed for
// 200 ms (TCP_DELACK_MAX). The request follows when that has gone.
const untilAcknowledged = 230 * time.Millisecond

// twin has a connection under the victim's own four addresses: a socket that is tied
// to a device does not keep others, which are not, from what it has. Its handshake
// ends late, after the victim's began, if the victim's cannot end because the queue
// is full; every other try helps to fill it.
func (s *stranger) twin(n int, _ *ring) {
	to := pick(s.injector, n/2)
	if s.hooked {
		to = pick(s.targets, n/2)
	}
	s.beTwin(to, s.request(n), n)
}

// localTwin does the same to the local API.
func (s *stranger) localTwin(n int, _ *ring) { s.beTwin(pick(s.local, n/2), s.localRequest(), n) }

func (s *stranger) beTwin(to address, request string, n int) {
	if n%2 == 0 {
		s.leaveDead(to, n)
		return
	}
	fd := s.begin(to, automatic, func(fd int) error {
		if !s.hooked {
			tie(fd)
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0),
			unix.SetNonblock(fd, true), unix.Connect(fd, to.sockaddr()))
	})
	if fd < 0 {
		return
	}
	if s.hooked { // only now: what is tied to a device is not redirected
		tie(fd)
	}
	time.Sleep(untilAcknowledged)
	send(fd, request)
	_ = unix.SetNonblock(fd, false)
	s.listen(fd, n, 30*time.Millisecond)
	reset(fd)
}

// tie binds a socket to the loopback device, which needs no right (Linux 5.7).
func tie(fd int) {
	_ = unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
}
