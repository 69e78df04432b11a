//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/resolver"
	"github.com/lanyardhq/lanyard/internal/sdnotify"
	"github.com/lanyardhq/lanyard/internal/standing"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Options are what an agent is made of beside its settings.
type Options struct {
	Settings Settings
	Logger   *slog.Logger
	Recorder *telemetry.Recorder
	Manager  *sdnotify.Notifier // nil where no service manager wants to know
}

// ErrConfig says that the configuration file is wrong or cannot be read.
var ErrConfig = errors.New("configuration")

// Agent is the host agent: every part of the product that runs on a workload's
// host, joined. Make it with New, and Run it once.
type Agent struct {
	settings Settings
	log      *slog.Logger
	recorder *telemetry.Recorder
	manager  *sdnotify.Notifier
	accounts attribution.HostAccounts
	health   *health

	probe      *probe.Probe
	here       *namespace
	attributor *attribution.Attributor
	processes  *processes
	registry   *registry.Registry
	tokens     *token.Cache
	board      *standing.Board // which identities have tokens
	resolver   *resolver.Resolver
	farEnds    *farEnds
	before     *before // nil where it cannot look
	injector   *injector.Server
	key        *apiKey
	openFiles  uint64 // how many this process may have

	cgroup2    string                          // mount point of the cgroup2 hierarchy, "" where none can be seen whole
	unknowable map[workload.SelectorKind]error // what cannot be known of processes here, and why

	connections int // that the injector may hold

	closing   sync.Mutex // held to compute what the kernel closes and to tell it: the later wins
	answers   bool       // under closing: connections are redirected to us, by our configuration
	mu        sync.Mutex // guards what only a reload changes:
	sources   sourceSet
	localName string // identity of callers with the API key
}

// New loads the configuration, and the kernel half, and makes every listener.
// Nothing is redirected before Run. What can be found out without the kernel half comes
// first. An error leaves the kernel as it was: nothing, or what a former agent left, with
// the fail policy.
func New(ctx context.Context, o Options) (*Agent, error) {
	a := &Agent{
		settings: o.Settings, log: o.Logger, recorder: o.Recorder, manager: o.Manager,
		health: newHealth(),
	}
	config, err := a.loadConfig()
	if err != nil {
		a.sayWhatHolds()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	a.lookAround()
	if err := a.checkSight(config.Policy); err != nil {
		a.sayWhatHolds()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	a.registry = registry.New(config.Policy)
	for _, step := range []func() error{
		a.openState,
		func() error { return a.prepare(config) },
		func() error { return a.openKernel(ctx) },
		a.makeParts,
		func() error { a.putInForce(config); return nil },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, a.closeParts())
		}
	}
	return a, nil
}

// lookAround finds out what can be known of processes where the agent runs.
func (a *Agent) lookAround() {
	root, err := probe.CgroupRootFor(a.settings.Cgroup)
	a.cgroup2 = root
	a.unknowable = unknowable(attribution.Look("/proc", root, err))
}

func (a *Agent) openState() error {
	if err := trustedpath.MakeFolder(a.settings.StateDir); err != nil {
		return fmt.Errorf("make state folder: %w; name another with LANYARD_STATE_DIR", err)
	}
	a.key = newAPIKey(&a.settings, a.health, a.log)
	a.settings.APIKey = "" // of the key only the digest is needed
	return nil
}

func (a *Agent) openKernel(ctx context.Context) (err error) {
	cgroup := a.settings.Cgroup
	if cgroup == "" {
		if cgroup, err = probe.CgroupRoot(); err != nil {
			return err
		}
	}
	if a.connections, err = a.connectionLimit(); err != nil {
		return err
	}
	a.probe, err = probe.Open(probe.Config{
		Cgroup: cgroup, BPFFS: a.settings.BPFFS, Instance: a.settings.Instance,
		Connections: a.connections, Logger: a.log,
	})
	if err != nil {
		return err
	}
	if err := a.probe.Outlives(); err != nil {
		a.log.Warn("the fail policy may end with this container", "reason", err)
	}
	a.attributor, err = attribution.New(attribution.Config{
		ReaderConfig: readerConfig(a.cgroup2),
		Liveness:     a.probe,
	})
	if err != nil {
		return err
	}
	if a.here, err = listenHere(ctx, a.probe, a.health, a.log); err != nil {
		return err
	}
	if a.farEnds = openFarEnds(a.here.netns(), a.cgroup2); a.farEnds.err != nil {
		a.log.Warn("destinations that say who serves them get no token", "error", a.farEnds.err)
	}
	return nil
}

// readerConfig says where facts about processes are read.
func readerConfig(cgroup2 string) attribution.ReaderConfig {
	return attribution.ReaderConfig{Proc: "/proc", Root: "/", Cgroup2: cgroup2, Names: attribution.NewHostNames()}
}

func (a *Agent) makeParts() (err error) {
	a.processes = &processes{
		attributor: a.attributor, log: a.log, learn: a.probe.LearnCgroup,
		learnt: map[uint64]struct{}{}, budget: logbudget.New(logbudget.Config{}), cgroupPath: a.farEnds.cgroupPath,
	}
	a.observeTokens()
	a.tokens = token.NewCache(token.CacheConfig{Logger: a.log, Observer: obtainings{a.recorder, a.board}})
	a.resolver = resolver.New(resolver.Config{Logger: a.log, OnChange: a.closeKnown})
	if a.before, err = a.newBefore(); err != nil {
		a.log.Warn("connections of identities that were made before this start go on without a token until they end", "error", err)
	}
	a.injector, err = injector.New(injector.Config{
		Flows:     a.probe,
		Processes: a.processes,
		Policies:  policies{a.registry},
		Tokens:    a.tokens,
		Verifier:  a.resolver,
		Servers:   a.farEnds,
		Dialer:    upstream{},
		Verdicts:  a.probe,
		Recorder:  a.findMisses(),
		Log:       a.log,
		Now:       time.Now,
		Limits:    injector.Limits{Connections: a.connections},
	})
	a.recorder.ObserveKernel(a.kernelCounters)
	a.recorder.ObserveConnections(a.injector.Open)
	a.recorder.ObserveProblems(a.health.count)
	a.recorder.ObserveHooks(func() bool { return a.probe.Hooks() == nil })
	return err
}

func (a *Agent) kernelCounters() map[string]uint64 {
	counters, err := a.probe.Counters()
	if err != nil {
		a.log.Warn("kernel counters are missing from the metrics", "error", err)
	}
	return counters
}

// Run does the agent's work until ctx ends, then drains: new connections go
// their own way at once, requests on their way finish, and the kernel half is
// removed. Each value from reload makes it read its configuration anew.
func (a *Agent) Run(ctx context.Context, reload <-chan os.Signal) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	parts, work := errgroup.WithContext(work)
	listeners := a.startServers(work, parts)
	parts.Go(func() error { a.key.keep(work); return nil })
	a.startKernel(work, parts)
	err := a.answer()
	if err == nil {
		a.health.ok(partAgent)
		a.before.want()
		a.report(a.manager.Ready(a.inForce()))
		a.log.Info("ready", "identities", len(a.registry.Current().Identities()),
			"destinations", len(a.registry.Current().Destinations()), "pins", a.probe.PinFolder())
		a.serveReloads(ctx, work, reload)
	}
	err = errors.Join(err, a.drain(ctx, listeners))
	stopWork()
	err = errors.Join(err, parts.Wait())
	return errors.Join(err, a.closeParts())
}

// answer has connections redirected to us, first those that a former agent watched,
// then those of our configuration: until we answer, the kernel goes by what the
// former one knew, which is more than we can tell it yet.
func (a *Agent) answer() error {
	a.tellSources()
	if err := a.here.announce(); err != nil {
		return err
	}
	if err := a.probe.Apply(a.registry.Current().Watch(), func() {}); err != nil {
		return err
	}
	a.closing.Lock()
	a.answers = true
	a.closing.Unlock()
	a.closeKnown()
	return a.probe.Replace()
}

// startKernel starts everything that keeps redirected connections served.
func (a *Agent) startKernel(ctx context.Context, parts *errgroup.Group) {
	parts.Go(func() error { return a.probe.Run(ctx, a.attributor.Forget) })
	parts.Go(func() error { a.watchHooks(ctx); return nil })
	parts.Go(func() error { a.keepRoutes(ctx); return nil })
	parts.Go(func() error { a.keepTokens(ctx); return nil })
	parts.Go(func() error { a.manager.KeepAlive(ctx, a.probe.Beats, a.report); return nil })
	parts.Go(func() error { a.renewKeys(ctx); return nil })
	if a.before != nil {
		parts.Go(func() error { a.before.run(ctx); return nil })
	}
	for place := range a.here.listeners {
		parts.Go(func() error { a.here.serve(ctx, place, a.injector.Serve); return nil })
	}
}

// tellSources has getsockname answer on redirected sockets as it would without us. Where
// that fails, nothing else does: programs are told a loopback address.
func (a *Agent) tellSources() {
	if err := a.here.tellSources(); err != nil {
		a.log.Warn("programs may be told a wrong address of their own by getsockname", "error", err)
	}
}

// serveReloads handles SIGHUP until ctx ends or a part has failed.
func (a *Agent) serveReloads(ctx, work context.Context, reload <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-work.Done():
			return
		case <-reload:
			a.reload()
		}
	}
}

// closeKnown tells the kernel which addresses belong to destinations that fail
// closed, whenever the configuration or the resolver's answers have changed. Until
// we answer, what a former agent closed stays so.
func (a *Agent) closeKnown() {
	a.closing.Lock()
	defer a.closing.Unlock()
	if !a.answers {
		return
	}
	known := closedDestinations(a.registry.Current().Destinations(), a.resolver.Known())
	if err := a.probe.SetClosed(known); err != nil {
		a.log.Warn("the fail policy does not cover every address", "error", err)
	}
}
