package admission

import (
	"net"
	"net/netip"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Peers finds out whose the connections of one listener are, as far as the system
// tells.
type Peers struct{ tells bool }

// PeersOf asks once whether the system tells who connects to this listener over TCP:
// to ask in vain for each connection may make the kernel look for a module each time.
func PeersOf(l net.Listener) Peers {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return Peers{}
	}
	own := tcp.AddrPort()
	_, known := socketUser(own, netip.AddrPortFrom(unspecified(own.Addr()), 0))
	return Peers{tells: known}
}

// Party returns the party of an accepted connection, as far as it can be had without
// the connect hook's word.
func (p Peers) Party(c net.Conn) workload.Party {
	switch c := c.(type) {
	case *net.UnixConn:
		if uid, ok := PeerUser(c); ok {
			return workload.UserParty(uid)
		}
	case *net.TCPConn:
		client, here := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
		if !client.Addr().IsLoopback() && client.Addr() != here.Addr() {
			return workload.MachineParty(client.Addr())
		}
		if !p.tells {
			return workload.Party{}
		}
		if uid, ok := socketUser(client, here); ok {
			return workload.UserParty(uid)
		}
	}
	return workload.Party{}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Unmap().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
