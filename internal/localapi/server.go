package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// How long a server waits for its clients. A call has less than what the answer may
// take.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	headerSize    = 16 << 10
)

// Flows knows what the connect hook recorded of an accepted connection.
type Flows interface {
	Lookup(accepted syscall.Conn) (workload.Flow, error)
}

// Door is how a server's callers come in.
type Door struct {
	Flows Flows           // nil where no caller is ever known: the Unix socket
	Peers admission.Peers // of the listener that is served
	Gate  *admission.Gate // what it may hold
	Log   *slog.Logger    // what net/http has to say
}

// NewServer returns a server of the API.
func NewServer(handler http.Handler, door Door) *http.Server {
	return &http.Server{
		Handler:                      handler,
		ReadTimeout:                  readTimeout,
		ReadHeaderTimeout:            headerTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerSize,
		DisableGeneralOptionsHandler: true, // of OPTIONS * too, Host and Origin are looked at
		ErrorLog:                     slog.NewLogLogger(door.Log.Handler(), slog.LevelWarn),
		ConnState:                    door.Gate.StateChanged,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			by := &caller{conn: c, gate: door.Gate, flow: claimFlow(door.Flows, c)}
			if by.flow != nil {
				by.party = by.flow.Party()
			} else {
				by.party = door.Peers.Party(c)
			}
			door.Gate.Admit(c, by.party) // or it is closed, which its server sees
			return context.WithValue(ctx, callerKey{}, by)
		},
	}
}

// claimFlow returns what the connect hook recorded of an accepted connection; without
// it, the caller needs the key.
func claimFlow(flows Flows, c net.Conn) *workload.Flow {
	accepted, ok := c.(syscall.Conn)
	if flows == nil || !ok {
		return nil
	}
	flow, err := flows.Lookup(accepted)
	if err != nil || flow.Kind != workload.FlowLocalAPI {
		return nil
	}
	return &flow
}

// ListenTCP makes a listener; its error names the setting.
func ListenTCP(ctx context.Context, address, setting string) (*listen.Listener, error) {
	l, err := listen.TCP(ctx, listen.Config{}, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (%s): %w", address, setting, err)
	}
	return l, nil
}

// LacksFamily reports whether a listener could not be made because this host has
// no IPv6, or no such address of it.
func LacksFamily(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}
