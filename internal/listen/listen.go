package listen

import (
	"context"
	"net"
	"time"
)

// Config says how a listener is made. The zero Config is Go's default, without multipath
// TCP: its sub-flows are sockets of their own, of which nothing is promised here.
type Config struct {
	KeepAlive time.Duration // of accepted connections; see net.ListenConfig
}

// Listener is a TCP listener whose accepted connections do not keep its address from the
// process that listens there next.
type Listener struct{ *net.TCPListener }

// Accept returns the next connection, a *net.TCPConn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	leaveAddress(c)
	return c, nil
}

// goListen is what Go makes of the address.
func (c Config) goListen(ctx context.Context, config net.ListenConfig, address string) (*Listener, error) {
	config.KeepAlive = c.KeepAlive
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Listener{l.(*net.TCPListener)}, nil
}
