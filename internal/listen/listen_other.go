//go:build !linux

package listen

import (
	"context"
	"net"
)

// TCP listens at an address, "host:port". It is safe for concurrent use.
func TCP(ctx context.Context, config Config, address string) (*Listener, error) {
	return config.goListen(ctx, net.ListenConfig{}, address)
}

func leaveAddress(*net.TCPConn) {}
