//go:build linux

package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	bufferSize   = 32 << 10 // the kernel fills no larger part of a dump
	maxListeners = 1024     // of one port; reuseport groups have some tens
	maxSockets   = 1 << 18  // of one port; as many may be in TIME_WAIT by default (tcp_max_tw_buckets)
)

// ErrNoSocket says that no socket of this network namespace has these addresses.
var ErrNoSocket = errors.New("no socket of this host and network namespace has these addresses")

// Diag asks about the TCP sockets of one network namespace: that of the thread
// that made it. It is safe for concurrent use; one question is asked at a time,
// and none waits for anything but the kernel's tables.
type Diag struct {
	mu       sync.Mutex // guards what follows
	fd       int        // -1 when closed
	sequence uint32
	out, in  []byte
}

// Open makes a Diag, and says so if this kernel has no socket diagnostics.
func Open() (*Diag, error) {
	d := &Diag{fd: -1, in: make([]byte, bufferSize)}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open socket diagnostics: %w", err)
	}
	d.fd = fd
	// The answer is in the socket before a question returns; the bound is for a
	// kernel that does not do what it should.
	second := unix.Timeval{Sec: 1}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &second)
	if err == nil {
		_, err = d.Listeners(netip.AddrPortFrom(netip.IPv6Loopback(), 1))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open socket diagnostics: %w; the kernel needs CONFIG_INET_DIAG, or the module tcp_diag", err), d.Close())
	}
	return d, nil
}

// Close closes it. Later questions are errors.
func (d *Diag) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close socket diagnostics: %w", err)
	}
	return nil
}

// Find returns the connected socket with exactly these addresses, or ErrNoSocket.
// The peer of a connection is found by its two addresses exchanged.
func (d *Diag) Find(local, remote netip.AddrPort) (Socket, error) {
	local, remote = unmap(local), unmap(remote)
	q := query{family: familyOf(local), states: ^uint32(0), local: local, remote: remote}
	var found Socket
	err := d.ask(q, func(s Socket) { found = s })
	// Where none is connected the kernel names the listener that would be asked.
	switch {
	case errors.Is(err, unix.ENOENT), err == nil && (found.Local != local || found.Remote != remote):
		return Socket{}, fmt.Errorf("find socket %v to %v: %w", local, remote, ErrNoSocket)
	case err != nil:
		return Socket{}, fmt.Errorf("find socket %v to %v: %w", local, remote, err)
	}
	return found, nil
}

// Listeners returns every socket that takes connections to an address, none if
// nobody listens there.
func (d *Diag) Listeners(at netip.AddrPort) ([]Socket, error) {
	at = unmap(at)
	var found []Socket
	families := []uint8{unix.AF_INET6}
	if at.Addr().Is4() {
		families = []uint8{unix.AF_INET, unix.AF_INET6} // a socket of IPv6 takes IPv4 too, if it may
	}
	for _, family := range families {
		q := query{family: family, states: 1 << Listening, local: netip.AddrPortFrom(netip.Addr{}, at.Port()), dump: true}
		err := d.ask(q, func(s Socket) {
			if s.takes(at) && len(found) <= maxListeners {
				found = append(found, s)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("find listeners of %v: %w", at, err)
		}
	}
	if len(found) > maxListeners {
		return nil, fmt.Errorf("find listeners of %v: more than %d", at, maxListeners)
	}
	return found, nil
}

// Overlapping returns every socket, in whatever state, whose local address is this one or
// comprises it: for [::] or 0.0.0.0 those of this port at every address of both families.
// Kernels before 6.8 do not tell of those that are bound only.
func (d *Diag) Overlapping(at netip.AddrPort) ([]Socket, error) {
	at = unmap(at)
	var found []Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		q := query{family: family, states: ^uint32(0), local: netip.AddrPortFrom(netip.Addr{}, at.Port()), dump: true}
		err := d.ask(q, func(s Socket) {
			if s.overlaps(at) && len(found) <= maxSockets {
				found = append(found, s)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("find sockets of %v: %w", at, err)
		}
	}
	if len(found) > maxSockets {
		return nil, fmt.Errorf("find sockets of %v: more than %d", at, maxSockets)
	}
	return found, nil
}

// Destroy ends the connection of exactly this socket, as it was found; its peer gets a
// reset where one is due. It is ErrNoSocket if that is no more. It needs CAP_NET_ADMIN, and
// the kernel CONFIG_INET_DIAG_DESTROY; older ones end no socket in TIME_WAIT (EOPNOTSUPP).
func (d *Diag) Destroy(s Socket) error {
	err := d.exchange(s.exact.appendDestroy, false, func(Socket) {})
	if errors.Is(err, unix.ENOENT) {
		err = ErrNoSocket
	}
	if err != nil {
		return fmt.Errorf("end connection of %v to %v in state %v: %w", s.Local, s.Remote, s.State, err)
	}
	return nil
}

// ask sends one query and yields every socket of the answer.
func (d *Diag) ask(q query, yield func(Socket)) error {
	return d.exchange(q.append, q.dump, yield)
}

// exchange sends one request and yields every socket of the answer.
func (d *Diag) exchange(request func([]byte, uint32) []byte, dump bool, yield func(Socket)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return unix.EBADF
	}
	d.sequence++
	d.out = request(d.out[:0], d.sequence)
	if err := unix.Sendto(d.fd, d.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(d.fd, d.in, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		done, err := d.read(d.in[:n], dump, yield)
		if done || err != nil {
			return err
		}
	}
}

// read reads one datagram and reports whether the answer is complete. What is left
// of an earlier answer, whose question ended in an error, is skipped.
func (d *Diag) read(b []byte, dump bool, yield func(Socket)) (done bool, err error) {
	for len(b) > 0 {
		var a answer
		if a, b, err = next(b); err != nil {
			return false, err
		}
		switch {
		case a.sequence != d.sequence:
		case a.kind == unix.NLMSG_DONE, a.kind == unix.NLMSG_ERROR:
			return true, a.failure()
		case a.kind == unix.SOCK_DIAG_BY_FAMILY:
			s, err := parseSocket(a.data)
			if err != nil {
				return false, err
			}
			yield(s)
			done = !dump
		}
	}
	return done, nil
}

func familyOf(a netip.AddrPort) uint8 {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
