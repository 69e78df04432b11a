package admission

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// What linux/inet_diag.h says of requests and answers.
const (
	diagIDSize      = 48 // struct inet_diag_sockid
	diagRequestSize = unix.SizeofNlMsghdr + 8 + diagIDSize
	diagMessageSize = 4 + diagIDSize + 5*4 // struct inet_diag_msg
	diagUIDOffset   = 4 + diagIDSize + 3*4
	diagInodeOffset = diagUIDOffset + 4
	anyCookie       = 0xff // each byte of INET_DIAG_NOCOOKIE
)

// PeerUser returns who called connect(2) on the other end.
func PeerUser(c *net.UnixConn) (uid uint32, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid, ok = peer.Uid, true
		}
	})
	return uid, ok && err == nil
}

// socketUser returns whose the socket of this host is that has exactly these ends, by
// socket diagnostics (sock_diag(7)). Where there is no such connection, but its local
// end listens, that is the kernel's answer: ask with port 0 for it. A socket that no
// process holds any more has no user.
func socketUser(local, remote netip.AddrPort) (uid uint32, ok bool) {
	answer, ok := diagnose(diagRequest(local, remote))
	if !ok {
		return 0, false
	}
	id := answer[4:]
	if binary.BigEndian.Uint16(id[2:]) != remote.Port() || binary.NativeEndian.Uint32(answer[diagInodeOffset:]) == 0 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(answer[diagUIDOffset:]), true
}

func diagRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, diagRequestSize)
	native := binary.NativeEndian
	native.PutUint32(b, diagRequestSize)
	native.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST)
	request := b[unix.SizeofNlMsghdr:]
	request[0], request[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if local.Addr().Is4() {
		request[0] = unix.AF_INET
	}
	native.PutUint32(request[4:], ^uint32(0)) // any state
	id := request[8:]
	binary.BigEndian.PutUint16(id, local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	copy(id[4:20], local.Addr().AsSlice())
	copy(id[20:36], remote.Addr().AsSlice())
	for i := range id[40:] {
		id[40+i] = anyCookie
	}
	return b
}

// diagnose asks the kernel, which has answered when the request has been sent.
func diagnose(request []byte) (message []byte, ok bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, false
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false
	}
	var answer [1024]byte
	n, _, err := unix.Recvfrom(fd, answer[:], unix.MSG_DONTWAIT)
	if err != nil || n < unix.SizeofNlMsghdr+diagMessageSize {
		return nil, false
	}
	if binary.NativeEndian.Uint16(answer[4:]) != unix.SOCK_DIAG_BY_FAMILY {
		return nil, false // an error: there is no such socket
	}
	return answer[unix.SizeofNlMsghdr:n], true
}
