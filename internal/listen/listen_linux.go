package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// TCP listens at an address, "host:port", which no other user has then. Where somebody
// has it, that is EADDRINUSE, and the error says what is known of whom. It is safe for
// concurrent use.
func TCP(ctx context.Context, config Config, address string) (*Listener, error) {
	l, at, err := config.bind(ctx, address, false)
	if !errors.Is(err, unix.EADDRINUSE) || at.Port() == 0 {
		return l, err
	}
	left := endLeftovers(at)
	var held *heldError
	switch {
	case errors.As(left, &held):
		return nil, fmt.Errorf("%w: %w", err, left)
	case left == nil:
		l, _, err = config.bind(ctx, address, false)
	default:
		l, _, err = config.bind(ctx, address, true)
		if err == nil {
			err = l.stopSharing()
		}
	}
	if err != nil {
		return nil, withHint(err, left)
	}
	return l, nil
}

// withHint adds what can be done to an error, and why leftovers were not ended if so.
func withHint(err, left error) error {
	if sending := (*sendingError)(nil); errors.As(left, &sending) {
		return fmt.Errorf("%w: %w", err, left)
	}
	err = fmt.Errorf("%w; `ss -tanp` as root shows who has the port, unless a program has only bound it", err)
	if left != nil {
		err = fmt.Errorf("%w (%w)", err, left)
	}
	return err
}

// bind makes a listener that has its address alone, or, if shared is set, beside what is
// left in TIME_WAIT and what else of the same user has SO_REUSEPORT. It returns the
// address that was meant, also with an error; the zero address if there was none yet.
func (c Config) bind(ctx context.Context, address string, shared bool) (*Listener, netip.AddrPort, error) {
	var at netip.AddrPort
	config := net.ListenConfig{Control: func(_, resolved string, raw syscall.RawConn) error {
		at = parse(resolved)
		// Go has set SO_REUSEADDR by now, and binds next.
		if err := set(raw, unix.SO_REUSEADDR, 0); err != nil || !shared {
			return err
		}
		return set(raw, unix.SO_REUSEPORT, 1)
	}}
	l, err := c.goListen(ctx, config, address)
	return l, at, err
}

// stopSharing takes back SO_REUSEPORT, so that another socket can only be bound beside the
// listener where the kernel's record of the port has it pass unseen: see the package.
func (l *Listener) stopSharing() error {
	raw, err := l.SyscallConn()
	if err == nil {
		err = set(raw, unix.SO_REUSEPORT, 0)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

// leaveAddress marks an accepted connection, so that it does not keep a process which may
// not end it from listening at its address once its own process has ended. The listener
// has no such mark and cannot be joined. Where marking fails, a restart waits for the
// connection's end.
func leaveAddress(c *net.TCPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = set(raw, unix.SO_REUSEPORT, 1)
	}
}

func set(raw syscall.RawConn, option, value int) error {
	var set error
	err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value) })
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("set socket option %d to %d: %w", option, value, err)
	}
	return nil
}

// parse reads an address as net writes it: without host for every one of this host's.
func parse(address string) netip.AddrPort {
	if len(address) > 0 && address[0] == ':' {
		address = "[::]" + address
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}
	}
	return at
}
