package injector

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Flows knows what the kernel recorded of redirected connections.
type Flows interface {
	// Lookup returns the flow of an accepted connection, which the kernel bound to
	// that socket; where it recorded none, the error is workload.ErrNoFlow.
	Lookup(accepted syscall.Conn) (workload.Flow, error)
	// Charge has the connection of a flow count as an identity's, if that has room,
	// and returns the share that Release has to give back instead of the flow's.
	Charge(f workload.Flow, identity string) workload.Share
	// Release says that the connection of a flow has ended. It is called once for
	// each that Lookup returned.
	Release(f workload.Flow)
}

// Processes knows the process images of this host. It is safe for concurrent use.
type Processes interface {
	// Attribute learns what can be known of the image that connected. It returns
	// soon after ctx has ended, whatever a file system does. Beside an error there
	// may be a process with what the kernel alone says: ids, and the cgroup.
	Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error)
	// Current reports whether the image is still the one that runs in its
	// process. It is asked before every token and normally makes no system call.
	Current(i workload.Image) bool
}

// Policy is one immutable configuration. Values are comparable pointers: two
// equal values give equal answers, so that answers may be remembered by value.
type Policy interface {
	// Identify returns the identity of a process, nil for none, and a
	// *workload.AmbiguousError where two match equally well.
	Identify(p *workload.Process) (*workload.Identity, error)
	// Destination returns the registered destination for a normalised host
	// (lower case, no trailing dot, brackets or port) and port, or nil.
	Destination(host string, port uint16) *workload.Destination
	// AtPort returns the registered destinations with a port. It must not be changed.
	AtPort(port uint16) []*workload.Destination
}

// Policies hands out the policy of now. It is asked for every request, so that
// a reload takes effect on open connections.
type Policies interface {
	Current() Policy
}

// Tokens keeps tokens warm. It is safe for concurrent use, bounds its own
// waiting, and answers a warm request without a system call.
type Tokens interface {
	Get(ctx context.Context, r token.Request) (token.Token, error)
	// Rejected says that a destination answered 401 to this token. It returns
	// at once.
	Rejected(r token.Request, t token.Token)
}

// Verifier says whether an address is the host that a request names.
type Verifier interface {
	// Verify returns nil if addr is verified to be host of destination d.
	Verify(ctx context.Context, d *workload.Destination, host string, addr netip.AddrPort) error
	// Alternatives returns the other addresses of host of destination d, for
	// failover from addr, and an error if addr is not verified to be that host. What
	// has to be looked up for that is looked up on the identity's account; if that is
	// empty, nothing is.
	Alternatives(ctx context.Context, identity string, d *workload.Destination, host string, addr netip.AddrPort) ([]netip.Addr, error)
	// Knows reports whether addr is one of destination d's, by what is known now.
	// Nothing is looked up.
	Knows(d *workload.Destination, addr netip.AddrPort) bool
}

// Servers says who serves the far end of a connection. It is safe for concurrent
// use.
type Servers interface {
	// ServedBy returns nil if the far end of an upstream connection, made for a flow
	// from local to remote, belongs to whom the selector describes. It is asked
	// before each token that goes to a destination which says who serves it: a
	// socket changes hands without a word.
	ServedBy(ctx context.Context, f workload.Flow, by workload.Selector, local, remote netip.AddrPort) error
}

// Dialer connects in the namespace of a flow, from a socket that our own
// connect hook lets pass, with TCP_NODELAY and keep-alives on. A source address
// that the client bound is carried over.
type Dialer interface {
	Dial(ctx context.Context, f workload.Flow, to netip.AddrPort) (*net.TCPConn, error)
}

// Verdicts tells the kernel what user space found out.
type Verdicts interface {
	// Bystander says that this image has no identity: its next connections
	// need not come here.
	Bystander(f workload.Flow)
	// Identified says that this image has the identity of this name.
	Identified(f workload.Flow, identity string)
}

// Recorder records one use per request, and one per connection that held none.
type Recorder interface {
	Use(u telemetry.Use)
}
