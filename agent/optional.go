//go:build linux

package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/telemetry"
)

// retryPause is how long a part that the agent does without is left alone before it is
// tried again.
const retryPause = 5 * time.Second

// lookPause is how often a listener that can be lost unnoticed is looked at.
const lookPause = 2 * time.Second

// optional is a listener that the agent does its work without, and what is served
// there. Where it cannot be had, or its server ends, that is told, and it is tried
// again. Make it with newOptional, open it once, and run it.
type optional struct {
	kind, address string
	listen        func(ctx context.Context) (net.Listener, error)
	serve         func(l net.Listener) *http.Server // makes the server of one listener
	look          func(l net.Listener) error        // says why nobody comes to the listener any more; nil if that shows by itself
	gate          *admission.Gate
	health        *health
	log           *slog.Logger

	stop     chan struct{} // closed by shutdown
	mu       sync.Mutex    // guards what follows
	stopping bool
	listener net.Listener // nil where there is none, as is
	server   *http.Server
}

// part is the listener's name in health.
func (o *optional) part() string { return o.kind + " " + o.address }

// open makes the listener, or says why not.
func (o *optional) open(ctx context.Context) {
	l, err := o.listen(ctx)
	if err != nil {
		o.missing(err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopping {
		_ = l.Close() // nobody has connected that we promised anything
		return
	}
	o.listener, o.server = l, o.serve(l)
	if o.health.ok(o.part()) {
		o.log.Info("listening again", "listener", o.kind, "address", o.address)
	}
}

func (o *optional) missing(err error) {
	if o.health.degrade(o.part(), err.Error()) {
		o.log.Warn("the agent works without one of its listeners, and tries again", "listener", o.kind, "address", o.address,
			"error", err, "every", retryPause)
	}
}

// run serves, and opens the listener again when it is missing, until shutdown.
func (o *optional) run(ctx context.Context) {
	for {
		if l, server := o.now(); server != nil {
			err := o.attend(l, server)
			if errors.Is(err, http.ErrServerClosed) {
				return
			}
			o.lost(err)
		}
		select {
		case <-o.stop:
			return
		case <-time.After(retryPause):
			o.open(ctx)
		}
	}
}

// attend serves until the server ends, or the listener turns out to be lost, and says
// why.
func (o *optional) attend(l net.Listener, server *http.Server) error {
	if o.look == nil {
		return serveAll(server, l)
	}
	ended := make(chan struct{})
	var err error // of Serve, once ended is closed
	go func() {
		defer close(ended)
		err = serveAll(server, l)
	}()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return err
		case <-tick.C:
			lost := o.look(l)
			if lost == nil || o.isStopping() { // shutdown closes the listener, and waits for calls
				continue
			}
			_ = server.Close() // what is wrong is known
			<-ended
			return lost
		}
	}
}

// several is a listener that is served with others, and closes them.
type several interface {
	beside() []net.Listener
}

// serveAll serves a listener, and those that are beside it, until one ends, and says why
// that did.
func serveAll(server *http.Server, l net.Listener) error {
	all := []net.Listener{l}
	if s, ok := l.(several); ok {
		all = append(all, s.beside()...)
	}
	ends := make(chan error, len(all))
	var serving sync.WaitGroup
	for _, one := range all {
		serving.Go(func() { ends <- server.Serve(one) })
	}
	why := <-ends
	if !errors.Is(why, http.ErrServerClosed) {
		_ = server.Close() // and so the others end
	}
	serving.Wait()
	return why
}

func (o *optional) isStopping() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stopping
}

func (o *optional) now() (net.Listener, *http.Server) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.listener, o.server
}

// lost lets go of a listener on which nothing is accepted any more.
func (o *optional) lost(err error) {
	o.mu.Lock()
	server := o.server
	o.listener, o.server = nil, nil
	o.mu.Unlock()
	_ = server.Close() // the error is the listener's, which is known
	o.missing(err)
}

// shutdown ends run, and lets calls under way finish within ctx.
func (o *optional) shutdown(ctx context.Context) error {
	o.mu.Lock()
	o.stopping = true
	server := o.server
	o.mu.Unlock()
	close(o.stop)
	if server == nil {
		return nil
	}
	return server.Shutdown(ctx)
}

// state is what the metrics say of the listener.
func (o *optional) state() telemetry.Listener {
	_, server := o.now()
	counts := o.gate.Counts()
	return telemetry.Listener{
		Kind: o.kind, Address: o.address, Up: server != nil,
		Connections: counts.Open, Refused: counts.Refused, Evicted: counts.Evicted,
	}
}
