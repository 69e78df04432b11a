package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/lanyardhq/lanyard/internal/sockdiag"
)

// rounds is how often the sockets of an address are listed. What is ended is gone at
// once; what comes up in the meantime was sent to a former process.
const rounds = 3

// heldError says that a process has a socket with an address.
type heldError struct {
	at    netip.AddrPort
	state sockdiag.State
	uid   uint32
}

func (e *heldError) Error() string {
	return fmt.Sprintf("a process of user %d has a socket there, in state %v; `ss -tanp sport = :%d` as root names it", e.uid, e.state, e.at.Port())
}

// sendingError says that a connection which no process has any more still delivers what
// was written before it was closed.
type sendingError struct {
	local, remote netip.AddrPort
	state         sockdiag.State
	bytes         uint32
}

func (e *sendingError) Error() string {
	return fmt.Sprintf("a closed connection of %v to %v, in state %v, still has %d bytes to deliver, which would be lost if it were ended; try again once it has, or end it: `ss -K src %v dst %v` as root",
		e.local, e.remote, e.state, e.bytes, e.local, e.remote)
}

// endLeftovers ends the connections with this local address, for a wildcard those of the
// port at every address, that no process has any more and that have nothing to deliver. If
// one has, it is left, with a *sendingError. If a process has a socket with the address, it
// ends nothing and returns a *heldError; another error says why what is left could not be
// ended.
func endLeftovers(at netip.AddrPort) (err error) {
	diag, err := sockdiag.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, diag.Close()) }()
	var kept error
	for range rounds {
		sockets, err := diag.Overlapping(at)
		if err != nil {
			return err
		}
		var left []sockdiag.Socket
		if left, kept = leftovers(at, sockets); len(left) == 0 {
			return kept
		}
		for _, s := range left {
			if err := diag.Destroy(s); err != nil && !errors.Is(err, sockdiag.ErrNoSocket) {
				return err
			}
		}
	}
	return kept
}

// leftovers returns those sockets that a process which ended, or closed them, has left, and
// that can be ended without loss. The error says what else is there: it is a *heldError,
// and then nothing may be ended, or a *sendingError.
func leftovers(at netip.AddrPort, sockets []sockdiag.Socket) (left []sockdiag.Socket, kept error) {
	for _, s := range sockets {
		switch {
		case s.Inode != 0 || s.State == sockdiag.Listening:
			return nil, &heldError{at: at, state: s.State, uid: s.UID}
		case s.Closed() && s.Undelivered() > 0:
			kept = &sendingError{local: s.Local, remote: s.Remote, state: s.State, bytes: s.Undelivered()}
		case s.Closed():
			left = append(left, s)
		}
	}
	return left, kept
}
