package authority

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Time and size limits of a connection.
const (
	headTimeout     = 5 * time.Second
	readTimeout     = 15 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 10 * time.Second
	maxHeaderBytes  = 32 << 10
)

// Serve answers on the listener until ctx ends, then finishes the requests it
// has, for at most ten seconds; streams it ends. It closes the listener. With TLS configured the
// listener's connections speak TLS 1.2 or later.
func (a *Authority) Serve(ctx context.Context, listener net.Listener) error {
	listener, err := a.withTLS(listener)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	a.streams.stop() // they would not end by themselves
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = server.Shutdown(patience)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop serving: requests were still running after %s: %w", shutdownTimeout, err), server.Close())
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s: %w", listener.Addr(), served))
	}
	return err
}

func (a *Authority) withTLS(listener net.Listener) (net.Listener, error) {
	if a.config.TLSCertFile == "" {
		return listener, nil
	}
	certificate, err := tls.LoadX509KeyPair(a.config.TLSCertFile, a.config.TLSKeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: load TLS certificate: %w", ErrConfig, err), listener.Close())
	}
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}), nil
}
