package serverurl

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

// localhost is a name that stands for this host (RFC 6761 section 6.3).
const localhost = "localhost"

// loopback are the addresses of this host, in the order in which they are tried.
var loopback = [...]string{"127.0.0.1", "::1"}

// DialContext returns what a client's transport dials by, each address for at most so
// long; 0 is any time. It dials as net.Dialer does, but localhost at the loopback
// addresses, whatever a resolver or /etc/hosts makes of the name: what InTheClear takes
// for this host stays on it.
func DialContext(limit time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: limit}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !strings.EqualFold(host, localhost) {
			return dialer.DialContext(ctx, network, address)
		}
		var errs []error
		for _, addr := range loopback {
			conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(addr, port))
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}
