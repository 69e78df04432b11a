package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Time limits of a connection, and of a stop.
const (
	headTimeout     = 5 * time.Second
	readTimeout     = 15 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 10 * time.Second
)

// Config says what is served, and how. Handler and Log are required.
type Config struct {
	Handler        http.Handler
	MaxHeaderBytes int          // of a request's head; 0 is net/http's default
	Certificate    *Certificate // of TLS 1.2 or later, followed while it is served; nil is no TLS
	Bounds         Bounds       // of open connections
	OnStop         func()       // has those requests end that would not by themselves, or nil
	Log            *slog.Logger
}

// Serve answers on the listener, which it closes, until ctx ends, and then finishes
// the requests that it has, for at most ten seconds.
func Serve(ctx context.Context, listener net.Listener, config Config) error {
	ctx, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stop()
	listener = config.Bounds.listen(listener, config.Log)
	if config.Certificate != nil {
		listener = config.Certificate.listen(listener)
		follower.Go(func() { config.Certificate.follow(ctx, config.Log) })
	}
	server := &http.Server{
		Handler:                      config.Handler,
		ReadHeaderTimeout:            headTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               config.MaxHeaderBytes,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other request, not past the handler
		ErrorLog:                     slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	if config.OnStop != nil {
		config.OnStop()
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(patience)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop serving: requests were still running after %s: %w", shutdownTimeout, err), server.Close())
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s: %w", listener.Addr(), served))
	}
	return err
}
