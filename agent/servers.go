//go:build linux

package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/telemetry"
)

// The kinds of optional listeners, as log, metrics and /readyz have them.
const (
	kindLocalAPI    = "local_api"
	kindLocalSocket = "local_socket"
	kindMetrics     = "metrics"
)

// startServers makes the listeners of the local API and of health, as far as they can
// be had, and serves them. Nothing of that stops the agent.
func (a *Agent) startServers(ctx context.Context, parts *errgroup.Group) []*optional {
	listeners := a.optionalListeners(ctx)
	a.recorder.ObserveListeners(func() []telemetry.Listener {
		states := make([]telemetry.Listener, 0, len(listeners))
		for _, o := range listeners {
			states = append(states, o.state())
		}
		return states
	})
	for _, o := range listeners {
		o.open(ctx)
		parts.Go(func() error { o.run(ctx); return nil })
	}
	return listeners
}

// optionalListeners returns those that are configured, unopened, each with its part of
// the descriptors that are for all of them.
func (a *Agent) optionalListeners(ctx context.Context) (all []*optional) {
	add := func(kind, address string, o *optional) {
		o.kind, o.address, o.health, o.log, o.stop = kind, address, a.health, a.log, make(chan struct{})
		all = append(all, o)
	}
	api, local := a.newLocalAPI().Handler(), newLocalListeners(a.probe)
	for _, address := range a.settings.LocalAPI {
		if !a.lacksFamily(ctx, address) {
			add(kindLocalAPI, address, a.localAPIListener(api, local, address))
		}
	}
	if path := a.settings.LocalSocket; path != "" {
		add(kindLocalSocket, path, a.localSocketListener(api, path))
	}
	if address := a.settings.Metrics; address != "" {
		o := &optional{listen: func(ctx context.Context) (net.Listener, error) {
			return listenTCP(ctx, address, "LANYARD_METRICS")
		}}
		o.serve = func(l net.Listener) *http.Server {
			return newHealthServer(a.health.handler(a.recorder.Handler()), admission.PeersOf(l), o.gate, a.log)
		}
		add(kindMetrics, address, o)
	}
	for _, o := range all {
		o.gate = admission.NewGate(placesWithin(a.openFiles, len(all)))
	}
	return all
}

// lacksFamily reports whether an IPv6 address is left out, as this host has no IPv6.
func (a *Agent) lacksFamily(ctx context.Context, address string) bool {
	if !strings.HasPrefix(address, "[") {
		return false
	}
	l, err := localapi.ListenTCP(ctx, "[::1]:0", localAPISetting)
	if err == nil {
		_ = l.Close()
	}
	lacks := localapi.LacksFamily(err)
	if lacks {
		a.log.Info("local API address left out; this host lacks the family", "address", address)
	}
	return lacks
}

func (a *Agent) newLocalAPI() *localapi.API {
	return localapi.New(localapi.Config{
		Log: a.log, Key: a.key.get, Addresses: a.settings.LocalAPI,
		Callers:  localCallers{processes: a.processes, registry: a.registry},
		Tokens:   a.tokens,
		Workload: a.workload,
		Identity: a.localIdentity,
		Count:    func(r localapi.Result) { a.recorder.LocalAPICall(string(r)) },
	})
}

// localAPIListener is one address of the local API, whose callers the kernel publishes.
func (a *Agent) localAPIListener(api http.Handler, local *localListeners, address string) *optional {
	o := &optional{look: local.look}
	var flows localapi.Flows
	o.listen = func(ctx context.Context) (net.Listener, error) {
		l, known, err := local.listen(ctx, address)
		if err != nil {
			return nil, err
		}
		if flows = a.probe; !known {
			flows = nil
			a.log.Info("callers of this local API address need the key; only a loopback address tells who calls", "address", address)
		}
		return l, nil
	}
	o.serve = func(l net.Listener) *http.Server {
		return localapi.NewServer(api, localapi.Door{Flows: flows, Peers: admission.PeersOf(l), Gate: o.gate, Log: a.log})
	}
	return o
}

// localSocketListener is the local API's Unix socket, which serves health, and root's
// questions, too.
func (a *Agent) localSocketListener(api http.Handler, path string) *optional {
	o := &optional{}
	o.listen = func(ctx context.Context) (net.Listener, error) { return listenUnix(ctx, path) }
	o.look = func(l net.Listener) error { return l.(*localapi.Socket).Check() }
	o.serve = func(l net.Listener) *http.Server {
		return localapi.NewServer(a.withWhy(a.health.besides(api)), localapi.Door{Peers: admission.PeersOf(l), Gate: o.gate, Log: a.log})
	}
	return o
}

// listenTCP is localapi.ListenTCP with an interface for its result, which is nil with
// an error.
func listenTCP(ctx context.Context, address, setting string) (net.Listener, error) {
	l, err := localapi.ListenTCP(ctx, address, setting)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// listenUnix is localapi.ListenUnix, likewise.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	l, err := localapi.ListenUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// How long the server of health waits for its clients.
const (
	healthHeaderTimeout = 5 * time.Second
	healthTimeout       = 10 * time.Second
	healthIdleTimeout   = 2 * time.Minute // longer than the time between two scrapes
	healthHeaderSize    = 16 << 10        // bytes
)

func newHealthServer(h http.Handler, peers admission.Peers, gate *admission.Gate, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: healthHeaderTimeout, ReadTimeout: healthTimeout,
		WriteTimeout: healthTimeout, IdleTimeout: healthIdleTimeout,
		MaxHeaderBytes: healthHeaderSize, DisableGeneralOptionsHandler: true,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnState: gate.StateChanged,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			gate.Admit(c, peers.Party(c)) // or it is closed, which its server sees
			return ctx
		},
	}
}
