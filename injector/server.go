package injector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Config is what a Server is made of. All but Limits is needed.
type Config struct {
	Flows     Flows
	Processes Processes
	Policies  Policies
	Tokens    Tokens
	Verifier  Verifier
	Servers   Servers
	Dialer    Dialer
	Verdicts  Verdicts
	Recorder  Recorder
	Log       *slog.Logger
	Now       func() time.Time // the clock of records and of the budget of warnings
	Limits    Limits
}

// Server serves redirected connections. It is safe for concurrent use.
type Server struct {
	flows     Flows
	processes Processes
	policies  Policies
	tokens    Tokens
	verifier  Verifier
	servers   Servers
	dialer    Dialer
	verdicts  Verdicts
	recorder  Recorder
	log       *slog.Logger
	now       func() time.Time
	inForce   atomic.Pointer[Limits]

	ctx   context.Context // ends with the last connection
	stop  context.CancelFunc
	tasks sync.WaitGroup // every goroutine that the server started

	ticks    atomic.Uint32 // sweeps so far
	sweeping sync.Once
	draining atomic.Bool
	budget   *logbudget.Budget // of warnings

	unknownHosts unknownHosts // that were told

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	empty     chan struct{} // made by Shutdown, closed when the last connection is gone
}

// New makes a server, or says which part of it is missing.
func New(cfg Config) (*Server, error) {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Flows", cfg.Flows == nil}, {"Processes", cfg.Processes == nil}, {"Policies", cfg.Policies == nil},
		{"Tokens", cfg.Tokens == nil}, {"Verifier", cfg.Verifier == nil}, {"Servers", cfg.Servers == nil}, {"Dialer", cfg.Dialer == nil},
		{"Verdicts", cfg.Verdicts == nil}, {"Recorder", cfg.Recorder == nil}, {"Log", cfg.Log == nil}, {"Now", cfg.Now == nil},
	} {
		if part.missing {
			return nil, fmt.Errorf("make injector: Config.%s is missing", part.name)
		}
	}
	s := &Server{
		flows: cfg.Flows, processes: cfg.Processes, policies: cfg.Policies, tokens: cfg.Tokens,
		verifier: cfg.Verifier, servers: cfg.Servers, dialer: cfg.Dialer, verdicts: cfg.Verdicts, recorder: cfg.Recorder,
		log: cfg.Log, now: cfg.Now,
		budget:    logbudget.New(logbudget.Config{Now: cfg.Now}),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	limits := cfg.Limits.withDefaults()
	s.inForce.Store(&limits)
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections from ln until Shutdown or the end of ctx, and then
// returns nil with ln closed. Connections outlive it; Shutdown ends them. It may
// run for several listeners at once, which have to yield *net.TCPConn with
// keep-alives on.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.track(ln) {
		return ln.Close()
	}
	defer s.untrack(ln)
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	s.sweeping.Do(func() { s.tasks.Go(s.sweepUntilStopped) })
	for {
		accepted, err := ln.Accept()
		switch {
		case err == nil:
			s.accept(accepted)
		case errors.Is(err, net.ErrClosed):
			return nil
		case isTemporary(err):
			s.warn(warnAccept, "accept failed; is the limit of open files too low?", "error", err)
			pause(ctx, acceptPause)
		default:
			return fmt.Errorf("accept on %v: %w", ln.Addr(), err)
		}
	}
}

// accept has a connection served with the flow that came with it. One that ended
// while it waited is never read: its bytes are of somebody who is gone.
func (s *Server) accept(accepted net.Conn) {
	client, ok := accepted.(*net.TCPConn)
	if !ok {
		_ = accepted.Close()
		return
	}
	flow, err := s.flows.Lookup(client)
	if err != nil {
		s.warn(warnNoFlow, "a connection was reset: the kernel redirected none from there", "from", client.RemoteAddr().String(), "error", err)
		reset(client)
		return
	}
	if flow.Kind != workload.FlowRedirected || isDead(client) {
		s.flows.Release(flow)
		reset(client)
		return
	}
	c := s.newConn(client, flow)
	if !s.admit(c) {
		c.warn(warnFull, "", "a connection was reset: too many are open, or the agent is ending", "image", flow.Image.String(), "limit", s.limits().Connections)
		c.cancel()
		s.flows.Release(flow)
		reset(client)
	}
}

// admit has a connection served, if there is room for it.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() || len(s.conns) >= s.limits().Connections {
		return false
	}
	s.conns[c] = struct{}{}
	s.tasks.Go(func() {
		defer s.forget(c)
		c.serve()
	})
	return true
}

// forget ends a connection. Its share is given back after it has left its place: whom the
// kernel lets in for it finds that.
func (s *Server) forget(c *conn) {
	flow := c.flow
	flow.Share = c.share
	defer s.flows.Release(flow)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.empty != nil && len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
}

// Open returns the number of connections that are open now.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown stops accepting, closes idle connections and lets requests that are
// on their way finish. What is open when ctx ends, opaque connections among it,
// is reset, and the error of ctx returned. When Shutdown returns, no goroutine
// of the server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.drain(ctx)
	s.eachConn(func(c *conn) { c.abort(net.ErrClosed) })
	s.stop()
	s.tasks.Wait()
	return err
}

func (s *Server) drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for ln := range s.listeners {
		_ = ln.Close()
	}
	empty := make(chan struct{})
	if len(s.conns) == 0 {
		close(empty)
	} else {
		s.empty = empty
	}
	s.mu.Unlock()
	s.eachConn((*conn).drain)
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain connections: %w", ctx.Err())
	}
}

func (s *Server) eachConn(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

func (s *Server) track(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) untrack(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
	_ = ln.Close()
}

func (s *Server) sweepUntilStopped() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.sweep()
		case <-s.ctx.Done():
			return
		}
	}
}

// sweep looks at every connection and ends what waits for too long.
func (s *Server) sweep() {
	now, max := s.ticks.Add(1), s.limits().ages()
	s.eachConn(func(c *conn) { c.sweep(now, max) })
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
