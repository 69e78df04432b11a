package workload

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Party is who is charged for what somebody causes here, so that one party uses up its
// own share only. Parties of one Place have one share together. Parties are comparable.
// The zero Party is all those of whom nothing is known.
type Party struct {
	place Place
	uid   uint32
	netns uint64
}

// Place is what parties are in that one owner can make any number of: a user with
// subordinate ids and the root of a container take on any user id, and everybody makes
// network namespaces. Places are comparable.
type Place struct {
	kind placeKind
	id   uint64 // of a cgroup, the first of some users, an address's number
}

type placeKind uint8

const (
	placeOfCgroup placeKind = iota + 1
	placeOfUsers
	placeOfIPv4
	placeOfIPv6
)

// ProcessParty returns the party of a process, by the kernel's word: its place is the
// cgroup with this id, of the user's slice, the unit or the container that the process
// is in, 0 where that is not known. The uid is the effective one in the initial user
// namespace, or 0 in a user's slice, whose processes are one party whatever uid they
// have; netns is the cookie of the network namespace.
func ProcessParty(place uint64, uid uint32, netns uint64) Party {
	return Party{place: Place{kind: placeOfCgroup, id: place}, uid: uid, netns: netns}
}

// subordinateIDs is how many ids useradd(8) gives a user as subordinate ones
// (SUB_UID_COUNT), and from where on, or more, it does.
const subordinateIDs = 1 << 16

// UserParty returns the party of a process of which only the effective uid in the
// initial user namespace is known. Ids that may be subordinate are in one place with
// their neighbours, which may be the same user's.
func UserParty(uid uint32) Party {
	place := Place{kind: placeOfUsers, id: uint64(uid)}
	if uid >= subordinateIDs {
		place.id = uint64(uid) &^ (subordinateIDs - 1)
	}
	return Party{place: place, uid: uid}
}

// MachineParty returns the party of another machine: its IPv4 address, or its IPv6
// network of 64 bits, whose owner commonly chooses the rest (RFC 4291 §2.5.4).
func MachineParty(addr netip.Addr) Party {
	if addr = addr.Unmap(); addr.Is4() {
		bytes := addr.As4()
		return Party{place: Place{kind: placeOfIPv4, id: uint64(binary.BigEndian.Uint32(bytes[:]))}}
	}
	bytes := addr.As16()
	return Party{place: Place{kind: placeOfIPv6, id: binary.BigEndian.Uint64(bytes[:])}}
}

// Place returns what the party is in.
func (p Party) Place() Place { return p.place }

// Whole returns the party of all who are in a place and are not told apart.
func (p Place) Whole() Party { return Party{place: p} }

// String says in a log line who it is.
func (p Party) String() string {
	switch {
	case p.place.kind == placeOfCgroup && p.uid != 0:
		return fmt.Sprintf("user %d in %v", p.uid, p.place)
	case p.place.kind == placeOfUsers && p != p.place.Whole():
		return fmt.Sprintf("user %d", p.uid)
	}
	return p.place.String()
}

// String says in a log line what it is.
func (p Place) String() string {
	switch p.kind {
	case placeOfCgroup:
		return fmt.Sprintf("cgroup %d", p.id)
	case placeOfUsers:
		return fmt.Sprintf("users from %d on", p.id)
	case placeOfIPv4:
		var bytes [4]byte
		binary.BigEndian.PutUint32(bytes[:], uint32(p.id))
		return netip.AddrFrom4(bytes).String()
	case placeOfIPv6:
		var bytes [16]byte
		binary.BigEndian.PutUint64(bytes[:], p.id)
		return netip.PrefixFrom(netip.AddrFrom16(bytes), ipv6Network).String()
	}
	return "unknown"
}

// ipv6Network is how many bits of an address tell a machine's network.
const ipv6Network = 64
