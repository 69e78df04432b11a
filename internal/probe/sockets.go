//go:build linux

package probe

import (
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// MarkInjector marks the injector's listener: only a marked one is redirected
// to, and connections to it that the hooks did not send are refused.
func (p *Probe) MarkInjector(listener syscall.Conn, port uint16) error {
	return p.markListener(listener, port, bpf.ConnectSocketMarkSOCKET_INJECTOR)
}

// MarkLocalAPI marks a listener of the local API: the callers of connections to it are
// recorded.
func (p *Probe) MarkLocalAPI(listener syscall.Conn, port uint16) error {
	return p.markListener(listener, port, bpf.ConnectSocketMarkSOCKET_LOCAL_API)
}

func (p *Probe) markListener(listener syscall.Conn, port uint16, mark bpf.ConnectSocketMark) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("mark listener: %w", err)
	}
	if err := p.mark(raw, mark); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ownPorts[port] = true
	return p.putPort(port, p.portsInUse[port]|uint32(bpf.ConnectPortFlagPORT_OURS))
}

func (p *Probe) mark(c syscall.RawConn, mark bpf.ConnectSocketMark) error {
	var putErr error
	err := c.Control(func(fd uintptr) {
		putErr = p.connect.Sockets.Update(int32(fd), &bpf.ConnectSocket{Marks: mark}, ebpf.UpdateAny)
	})
	if err == nil {
		err = putErr
	}
	if err != nil {
		return fmt.Errorf("mark socket: %w", err)
	}
	return nil
}

// netnsHere returns the cookie of the calling thread's network namespace.
func netnsHere() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return cookie, nil
}

// NetNSCookie returns the cookie of the network namespace a socket belongs to.
func NetNSCookie(c syscall.Conn) (uint64, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	var cookie uint64
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cookie, optErr = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	if err == nil {
		err = optErr
	}
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return cookie, nil
}
