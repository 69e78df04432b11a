package injector

import (
	"context"
	"net"
	"net/netip"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Flows holds what the kernel published about redirected connections.
type Flows interface {
	// Lookup claims the flow of an accepted connection by the client's end of
	// it. A flow can be claimed once; then, and where none was published, the
	// error is workload.ErrNoFlow.
	Lookup(client netip.AddrPort) (workload.Flow, error)
}

// Processes knows the process images of this host. It is safe for concurrent use.
type Processes interface {
	// Attribute learns what can be known of the image that connected.
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
	// Addresses resolves a host in the agent's own namespaces, for failover.
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
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
}

// Recorder records one use per request, and one per connection that held none.
type Recorder interface {
	Use(u telemetry.Use)
}
