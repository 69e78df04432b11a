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
	// Generation is that of the configuration in force at connect.
	Generation uint64
	Client     netip.AddrPort // the caller's end, IPv4-mapped addresses unmapped
	Original   netip.AddrPort // where it wanted to go, unmapped
}

// ErrNoFlow says that the kernel published no flow for a connection: it was not
// redirected by us, its flow was claimed before, or it has expired.
var ErrNoFlow = errors.New("no flow published for this connection")
