package telemetrytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

const (
	// maxExports bounds what is kept; a receiver that is full refuses.
	maxExports = 4096
	// maxBody bounds one export, in bytes, on the wire and unpacked.
	maxBody = 16 << 20
	// closeTimeout bounds how long Close waits for exports under way.
	closeTimeout = 5 * time.Second
)

// Receiver is an OTLP trace collector on two ports of the loopback interface. It
// is safe for concurrent use.
type Receiver struct {
	grpcListener, httpListener net.Listener
	grpcServer                 *grpc.Server
	httpServer                 *http.Server
	serving                    sync.WaitGroup

	mu      sync.Mutex
	exports []*collector.ExportTraceServiceRequest
	changed chan struct{} // closed and replaced when an export arrives
}

// Start returns a receiver that listens. The caller ends it with Close.
func Start() (*Receiver, error) {
	overGRPC, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for traces: %w", err)
	}
	overHTTP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for traces: %w", err), overGRPC.Close())
	}
	r := &Receiver{
		grpcListener: overGRPC,
		httpListener: overHTTP,
		grpcServer:   grpc.NewServer(grpc.MaxRecvMsgSize(maxBody)),
		changed:      make(chan struct{}),
	}
	collector.RegisterTraceServiceServer(r.grpcServer, &traceService{receiver: r})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", r.serveHTTP)
	r.httpServer = &http.Server{Handler: mux, ReadHeaderTimeout: closeTimeout}
	// Both return when Close stops them, with an error that says just that.
	r.serving.Go(func() { _ = r.grpcServer.Serve(overGRPC) })
	r.serving.Go(func() { _ = r.httpServer.Serve(overHTTP) })
	return r, nil
}

// Close ends the receiver and waits until it has. What arrived stays readable.
func (r *Receiver) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	r.grpcServer.Stop()
	err := r.httpServer.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("close trace receiver: %w", err), r.httpServer.Close())
	}
	r.serving.Wait()
	return err
}

// GRPCURL is the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=grpc.
func (r *Receiver) GRPCURL() string { return "http://" + r.grpcListener.Addr().String() }

// HTTPURL is the endpoint for OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.
func (r *Receiver) HTTPURL() string { return "http://" + r.httpListener.Addr().String() }

// Environment returns the variables that make a program export to the receiver
// without delay. The protocol is "grpc" or "http/protobuf".
func (r *Receiver) Environment(protocol string) map[string]string {
	endpoint := r.HTTPURL()
	if protocol == "grpc" {
		endpoint = r.GRPCURL()
	}
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
		"OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
		"OTEL_BSP_SCHEDULE_DELAY":     "50", // milliseconds
	}
}

// keep stores an export and wakes those who wait.
func (r *Receiver) keep(export *collector.ExportTraceServiceRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.exports) == maxExports {
		return fmt.Errorf("receive traces: %d exports are kept already", maxExports)
	}
	r.exports = append(r.exports, export)
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// received returns what arrived, and a channel that is closed when more does.
func (r *Receiver) received() ([]*collector.ExportTraceServiceRequest, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exports[:len(r.exports):len(r.exports)], r.changed
}
