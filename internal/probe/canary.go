//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// seen connects a socket of this process and returns what address the connect hook
// saw, invalid where no hook of ours looked. What becomes of the connection does
// not matter.
func (p *Probe) seen(to netip.AddrPort) (netip.AddrPort, error) {
	fd, err := unix.Socket(family(to.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return to, nil // nobody on this host can connect there
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask the hooks: %w", err)
	}
	defer unix.Close(fd)
	state := bpf.ConnectSocket{Marks: bpf.ConnectSocketMarkSOCKET_CANARY}
	if err := p.connect.Sockets.Update(int32(fd), &state, ebpf.UpdateAny); err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask the hooks: %w", err)
	}
	_ = unix.Connect(fd, socketAddress(to)) // whatever comes of it
	if err := p.connect.Sockets.Lookup(int32(fd), &state); err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask the hooks: %w", err)
	}
	if state.Flow.OriginalPort == 0 {
		return netip.AddrPort{}, nil
	}
	return addrPort(state.Flow.Original, state.Flow.OriginalPort), nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func socketAddress(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
