package sockdiag

import (
	"fmt"
	"net/netip"
)

// State is the state of a TCP socket, as include/net/tcp_states.h numbers it.
type State uint8

// The states that make a difference here.
const (
	Established State = 1
	SynReceived State = 3 // a handshake that its listener has not completed, as TCP_DEFER_ACCEPT has it
	FinWait1    State = 4
	FinWait2    State = 5
	TimeWait    State = 6
	LastAck     State = 9
	Listening   State = 10
	Closing     State = 11
	Bound       State = 13 // neither connected nor listening; kernels before 6.8 do not tell
)

var stateNames = map[State]string{
	Established: "ESTABLISHED", SynReceived: "SYN-RECEIVED", FinWait1: "FIN-WAIT-1", FinWait2: "FIN-WAIT-2",
	TimeWait: "TIME-WAIT", LastAck: "LAST-ACK", Listening: "LISTEN", Closing: "CLOSING", Bound: "BOUND",
}

// String returns the state's name, as RFC 9293 has it, or its number.
func (s State) String() string {
	if name := stateNames[s]; name != "" {
		return name
	}
	return fmt.Sprintf("%d", uint8(s))
}

// Socket is what the kernel says about one TCP socket.
type Socket struct {
	State  State
	Local  netip.AddrPort // unmapped
	Remote netip.AddrPort // unmapped; zero port if listening
	// Inode is 0 if no process has the socket: nobody has accepted it yet, or
	// everybody has closed it.
	Inode uint32
	// UID is the effective user who called socket(2) or accept(2) for it, seen from
	// the initial user namespace. Without an inode it means nothing: kernels before
	// 6.17 then say 0.
	UID uint32
	// Cgroup is the cgroup2 id of the process that called socket(2), for an
	// accepted socket: for its listener. It is 0 where the kernel does not say.
	Cgroup uint64
	// Unacknowledged is how many bytes of a connection its peer has not acknowledged,
	// sent or not. Its FIN counts one.
	Unacknowledged uint32

	v6only bool
	exact  exactID
}

// exactID is how the kernel knows a socket: its address family and inet_diag_sockid, in
// which its cookie is.
type exactID struct {
	family uint8
	id     [48]byte
}

// Closed reports whether nobody has the socket any more, and it waits for no more than its
// connection's orderly end.
func (s *Socket) Closed() bool {
	switch s.State {
	case FinWait1, FinWait2, TimeWait, LastAck, Closing:
		return s.Inode == 0
	}
	return false
}

// Undelivered is how many bytes a connection that is Closed has still to deliver, which
// were written before it was closed. They are lost if it is ended.
func (s *Socket) Undelivered() uint32 {
	switch s.State {
	case FinWait1, LastAck, Closing:
		return max(s.Unacknowledged, 1) - 1 // without the FIN
	}
	return 0
}

// takes reports whether a listening socket takes connections to an address.
func (s *Socket) takes(to netip.AddrPort) bool {
	return s.State == Listening && s.has(to)
}

// has reports whether a socket has this local address, alone or among others.
func (s *Socket) has(to netip.AddrPort) bool {
	at := s.Local.Addr()
	switch {
	case s.Local.Port() != to.Port():
		return false
	case at == to.Addr().WithZone(""):
		return true
	case !at.IsUnspecified():
		return false
	}
	return at.Is4() == to.Addr().Is4() || at.Is6() && !s.v6only
}

// overlaps reports whether a socket has an address in common with one that would be bound
// here; where that is every address, to those of both families.
func (s *Socket) overlaps(at netip.AddrPort) bool {
	return s.has(at) || at.Addr().IsUnspecified() && s.Local.Port() == at.Port()
}
