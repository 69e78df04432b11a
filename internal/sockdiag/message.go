//go:build linux

package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes and numbers of include/uapi/linux/inet_diag.h.
const (
	sizeofHeader  = unix.SizeofNlMsghdr
	sizeofID      = 48
	sizeofRequest = 8 + sizeofID
	sizeofMessage = 4 + sizeofID + 20

	attrV6Only   = 11 // INET_DIAG_SKV6ONLY
	attrCgroupID = 21 // INET_DIAG_CGROUP_ID

	noCookie = 0xffffffff // INET_DIAG_NOCOOKIE: any socket with these addresses
)

var errTruncated = errors.New("the kernel's answer is cut off")

// query is an inet_diag_req_v2.
type query struct {
	family        uint8
	states        uint32
	local, remote netip.AddrPort // of the wanted socket
	dump          bool
}

// append adds the query as a netlink message.
func (q query) append(b []byte, sequence uint32) []byte {
	var flags uint16
	if q.dump {
		flags = unix.NLM_F_DUMP
	}
	b = appendHeader(b, unix.SOCK_DIAG_BY_FAMILY, flags, sequence)
	b = append(b, q.family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, q.states)
	b = binary.BigEndian.AppendUint16(b, q.local.Port())
	b = binary.BigEndian.AppendUint16(b, q.remote.Port())
	b = appendAddress(b, q.local.Addr())
	b = appendAddress(b, q.remote.Addr())
	b = binary.NativeEndian.AppendUint32(b, 0) // any interface
	b = binary.NativeEndian.AppendUint32(b, noCookie)
	return binary.NativeEndian.AppendUint32(b, noCookie)
}

// appendDestroy adds the order to end a socket, which is acknowledged.
func (e exactID) appendDestroy(b []byte, sequence uint32) []byte {
	b = appendHeader(b, unix.SOCK_DESTROY, unix.NLM_F_ACK, sequence)
	b = append(b, e.family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // in any state
	return append(b, e.id[:]...)
}

// appendHeader adds the header of a request about TCP sockets.
func appendHeader(b []byte, kind, flags uint16, sequence uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, sizeofHeader+sizeofRequest)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	return binary.NativeEndian.AppendUint32(b, 0) // to the kernel
}

// appendAddress adds an address to sixteen bytes.
func appendAddress(b []byte, a netip.Addr) []byte {
	if a.Is6() {
		raw := a.As16()
		return append(b, raw[:]...)
	}
	var raw [16]byte
	if a.Is4() {
		four := a.As4()
		copy(raw[:], four[:])
	}
	return append(b, raw[:]...)
}

// answer is one netlink message.
type answer struct {
	kind     uint16
	sequence uint32
	data     []byte
}

// next cuts one message off.
func next(b []byte) (a answer, rest []byte, err error) {
	if len(b) < sizeofHeader {
		return answer{}, nil, errTruncated
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < sizeofHeader || size > len(b) {
		return answer{}, nil, errTruncated
	}
	a = answer{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[sizeofHeader:size]}
	return a, b[min(align(size), len(b)):], nil
}

// failure returns the error that an NLMSG_ERROR carries, or an NLMSG_DONE.
func (a answer) failure() error {
	if len(a.data) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(a.data)); code < 0 {
		return unix.Errno(-code)
	}
	return nil
}

// parseSocket reads an inet_diag_msg with its attributes.
func parseSocket(b []byte) (Socket, error) {
	if len(b) < sizeofMessage {
		return Socket{}, errTruncated
	}
	s := Socket{State: State(b[1]), exact: exactID{family: b[0], id: [sizeofID]byte(b[4:])}}
	local, ok1 := address(b[0], b[8:24])
	remote, ok2 := address(b[0], b[24:40])
	if !ok1 || !ok2 {
		return Socket{}, fmt.Errorf("the kernel's answer is of address family %d", b[0])
	}
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:]))
	s.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:]))
	tail := b[4+sizeofID:]
	s.Unacknowledged = binary.NativeEndian.Uint32(tail[8:])
	s.UID = binary.NativeEndian.Uint32(tail[12:])
	s.Inode = binary.NativeEndian.Uint32(tail[16:])
	return s, s.parseAttributes(b[sizeofMessage:])
}

func (s *Socket) parseAttributes(b []byte) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtAttr {
			return errTruncated
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errTruncated
		}
		value := b[unix.SizeofRtAttr:size]
		switch kind := binary.NativeEndian.Uint16(b[2:]); {
		case kind == attrCgroupID && len(value) == 8:
			s.Cgroup = binary.NativeEndian.Uint64(value)
		case kind == attrV6Only && len(value) == 1:
			s.v6only = value[0] != 0
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

func address(family uint8, b []byte) (netip.Addr, bool) {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b)), true
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b)).Unmap(), true
	}
	return netip.Addr{}, false
}

// align rounds up to the four bytes that messages and attributes begin at.
func align(n int) int { return (n + 3) &^ 3 }
