package workload

import (
	"errors"
	"fmt"
	"net/netip"
)

// Image identifies one executable running in one process of this host. A bare
// PID is never enough: PIDs are reused, and execve(2) puts another program into
// the same process. All three values are the thread-group leader's.
type Image struct {
	PID       uint32 // thread-group id in the initial PID namespace
	StartTime uint64 // start_boottime, nanoseconds since boot; survives execve
	ExecID    uint64 // self_exec_id, incremented by every execve
}

// String prints the image for logs and errors.
func (i Image) String() string {
	return fmt.Sprintf("pid %d (start %d, exec %d)", i.PID, i.StartTime, i.ExecID)
}

// FlowKind says why the kernel published a flow.
type FlowKind uint8

// The kinds of flow.
const (
	FlowRedirected FlowKind = iota + 1 // a watched connect, sent to the injector
	FlowLocalAPI                       // a connect to the local API, not redirected
)

// Flow is what the kernel recorded about one outbound TCP connection at the
// moment of connect(2). The identity of a connection belongs to the process
// image that connected it, whoever writes to it later.
type Flow struct {
	Kind     FlowKind
	Image    Image
	UID, GID uint32 // effective ids, seen from the initial user namespace
	CgroupID uint64 // cgroup2 id of the caller
	NetNS    uint64 // cookie of the caller's network namespace
	// PlaceID is the cgroup2 id of the user's slice, unit or container that the caller is
	// in, 0 if that is not known: see Party.
	PlaceID uint64
	// Generation is that of the configuration in force at connect.
	Generation uint64
	Client     netip.AddrPort // the caller's end, IPv4-mapped addresses unmapped
	Original   netip.AddrPort // where it wanted to go, unmapped
	// File is the running file, of an image of which the kernel knew no identity.
	File FileID
	// Known: the kernel knew that the image has an identity.
	Known bool
	// OfUser: the place is a user's, whatever uids its processes have.
	OfUser bool
	// Share is what the connection counts in; give it back when it has ended.
	Share Share
}

// Party returns who is charged for what the caller has done here. There is no other
// notion of that.
func (f *Flow) Party() Party {
	if f.OfUser {
		return ProcessParty(f.PlaceID, 0, f.NetNS)
	}
	return ProcessParty(f.PlaceID, f.UID, f.NetNS)
}

// FileID is one state of one file, by the kernel's own account and for the kernel
// only: its numbers are not those of stat(2). The zero FileID is no file.
type FileID struct {
	Inode, Size, ChangeTime   uint64
	ChangeNanoseconds, Device uint32
	Generation                uint32
}

// Share is the kernel's note of whose connections a connection counts in.
type Share struct {
	Budget uint32 // of an identity or a party; 0 for none
	Place  uint32 // of the party's place, 0 for an identity
	Shared bool   // also in what all share
}

// ErrNoFlow says that the kernel recorded no flow of a connection: it was not
// redirected by us.
var ErrNoFlow = errors.New("no flow recorded of this connection")
