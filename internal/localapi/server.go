package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	timeout    = 30 * time.Second
	headerSize = 16 << 10
)

type flowKey struct{}

// callerFlow returns what the connect hook recorded of the connection that a
// request came on.
func callerFlow(ctx context.Context) (workload.Flow, bool) {
	f, ok := ctx.Value(flowKey{}).(workload.Flow)
	return f, ok
}

// Flows claims a published flow by the client's end of the connection.
type Flows interface {
	Lookup(client netip.AddrPort) (workload.Flow, error)
}

// NewServer returns a server of the API. The flow is claimed while the connection
// is being accepted, in order, so that no later connection can take it. With
// flows nil (the Unix socket) no caller is ever known.
func NewServer(handler http.Handler, flows Flows) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadTimeout:       timeout,
		ReadHeaderTimeout: timeout,
		WriteTimeout:      timeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    headerSize,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			tcp, ok := c.RemoteAddr().(*net.TCPAddr)
			if flows == nil || !ok {
				return ctx
			}
			flow, err := flows.Lookup(tcp.AddrPort())
			if err != nil || flow.Kind != workload.FlowLocalAPI {
				return ctx // the caller then needs the key
			}
			return context.WithValue(ctx, flowKey{}, flow)
		},
	}
}

// ListenUnix makes the local API's Unix socket. A socket that a crash left is
// replaced; one that answers is another agent's.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder of the local API socket: %w", err)
	}
	var dialer net.Dialer
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another agent answers there; stop it, or set LANYARD_LOCAL_SOCKET", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the local API socket: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the local API socket: %w", err)
	}
	// Anybody may connect: the key decides.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open the local API socket: %w", err), l.Close())
	}
	return l, nil
}

// ListenTCP makes a listener; its error names the setting.
func ListenTCP(ctx context.Context, address, setting string) (*net.TCPListener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (%s): %w", address, setting, err)
	}
	return l.(*net.TCPListener), nil
}

// LacksFamily reports whether a listener could not be made because this host has
// no IPv6, or no such address of it.
func LacksFamily(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}
