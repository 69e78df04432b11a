//go:build linux

package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// upstreamTimeout bounds one attempt to connect to a destination; the injector
// tries others sooner.
const upstreamTimeout = 30 * time.Second

// upstream dials destinations. The connect hooks know the agent's own process image
// and let it pass.
type upstream struct{}

// Dial connects to one address, from the source address that the client had
// bound itself, if it had.
func (upstream) Dial(ctx context.Context, f workload.Flow, to netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{
		Timeout: upstreamTimeout,
		// At the host's own times (net.ipv4.tcp_keepalive_*): each other time is a
		// system call for each connection.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1},
	}
	dialer.SetMultipathTCP(false)
	if source := boundSource(f.Client.Addr()); source.IsValid() && source.Is4() == to.Addr().Is4() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("dial destination: %w", err)
	}
	return conn.(*net.TCPConn), nil
}

// boundSource is the client's address if it chose one: a redirected connection
// otherwise starts at the very address that it is sent to.
func boundSource(client netip.Addr) netip.Addr {
	if client == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || client == netip.IPv6Loopback() {
		return netip.Addr{}
	}
	return client
}
