package authority

import (
	"context"
	"net"

	"github.com/lanyardhq/lanyard/internal/httpserve"
)

// maxHeaderBytes bounds the head of a request.
const maxHeaderBytes = 32 << 10

// Serve answers on the listener until ctx ends, then finishes the requests it
// has, for at most ten seconds; streams it ends. It closes the listener. With TLS configured the
// listener's connections speak TLS 1.2 or later, with what the files hold at the time.
func (a *Authority) Serve(ctx context.Context, listener net.Listener) error {
	return httpserve.Serve(ctx, listener, httpserve.Config{
		Handler:        a.handler,
		MaxHeaderBytes: maxHeaderBytes,
		Certificate:    a.certificate,
		Bounds: httpserve.Bounds{
			All:       a.config.MaxConnections,
			PerSource: a.config.MaxConnectionsPerSource,
			Exempt:    a.proxies, // they stand for many
			Refused:   func(by string) { a.metrics.refusedConnections.WithLabelValues(by).Inc() },
		},
		OnStop: a.streams.stop, // they would not end by themselves
		Log:    a.log,
	})
}

// loadCertificate reads the pair to serve TLS with; nil without one.
func loadCertificate(c Config) (*httpserve.Certificate, error) {
	if c.TLSCertFile == "" {
		return nil, nil
	}
	certificate, err := httpserve.LoadCertificate(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, configError("%w", err)
	}
	return certificate, nil
}
