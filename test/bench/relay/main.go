//go:build linux

// Command relay is the arm R of the ladder: the product's redirect into the
// product's own engine, for callers that nobody identifies, so that bytes are
// relayed without being parsed. What it costs is what the hop itself costs.
//
// It must not know identities, destinations or tokens: it redirects everybody in
// its cgroup, and is no way to run the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func main() {
	cgroup := flag.String("cgroup", "", "folder of the cgroup to attach to")
	bpffs := flag.String("bpffs", "", "mount point of a BPF file system")
	port := flag.Uint("port", 0, "port whose connections are redirected")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *cgroup, *bpffs, uint16(*port)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// connections are enough that no arm of the benchmark meets a bound.
const connections = 1 << 16

func run(ctx context.Context, cgroup, bpffs string, port uint16) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := probe.Open(probe.Config{Cgroup: cgroup, BPFFS: bpffs, Instance: "relay", Connections: connections, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	listener, err := listen(ctx, p)
	if err != nil {
		return err
	}
	server, err := injector.New(injector.Config{
		Flows: p, Processes: strangers{}, Policies: nobody{}, Tokens: nobody{}, Verifier: nobody{}, Servers: nobody{},
		Dialer: dialer{}, Verdicts: nobody{}, Recorder: nobody{}, Log: log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	parts, work := errgroup.WithContext(context.WithoutCancel(ctx))
	work, end := context.WithCancel(work)
	parts.Go(func() error { return p.Run(work, func(workload.Image) {}) })
	parts.Go(func() error { return server.Serve(work, listener) })
	err = p.Apply(workload.Watch{Ports: []workload.WatchedPort{{Port: port}}, Conditions: []workload.Condition{{}}}, func() {})
	if err == nil {
		fmt.Println("ready")
		<-ctx.Done()
	}
	err = errors.Join(err, p.StopRedirecting())
	over, cancel := context.WithCancel(context.Background())
	cancel() // what is open is cut off
	_ = server.Shutdown(over)
	end()
	return errors.Join(err, parts.Wait())
}

func listen(ctx context.Context, p *probe.Probe) (*net.TCPListener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	listener := l.(*net.TCPListener)
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	if err := p.MarkInjector(listener, port); err != nil {
		return nil, err
	}
	cookie, err := probe.NetNSCookie(listener)
	if err != nil {
		return nil, err
	}
	ready := probe.Readiness{NetNS: cookie, Family: unix.AF_INET, Routable: true}
	for i := range ready.Ports {
		ready.Ports[i] = port
	}
	return listener, p.Ready(ready)
}

// dialer is the product's, without what a caller can ask for.
type dialer struct{}

func (dialer) Dial(ctx context.Context, _ workload.Flow, to netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// strangers are processes of which only the connection is known.
type strangers struct{}

func (strangers) Attribute(_ context.Context, f workload.Flow) (*workload.Process, error) {
	return &workload.Process{Image: f.Image}, nil
}

func (strangers) Current(workload.Image) bool { return true }

// nobody is every other part: it identifies nobody and keeps nothing.
type nobody struct{}

func (nobody) Current() injector.Policy                                { return nobody{} }
func (nobody) Identify(*workload.Process) (*workload.Identity, error)  { return nil, nil }
func (nobody) Destination(string, uint16) *workload.Destination        { return nil }
func (nobody) AtPort(uint16) []*workload.Destination                   { return nil }
func (nobody) Knows(*workload.Destination, netip.AddrPort) bool        { return false }
func (nobody) Get(context.Context, token.Request) (token.Token, error) { return token.Token{}, nil }
func (nobody) Rejected(token.Request, token.Token)                     {}
func (nobody) Alternatives(context.Context, string, *workload.Destination, string, netip.AddrPort) ([]netip.Addr, error) {
	return nil, nil
}
func (nobody) ServedBy(context.Context, workload.Flow, workload.Selector, netip.AddrPort, netip.AddrPort) error {
	return nil
}
func (nobody) Bystander(workload.Flow)          {}
func (nobody) Identified(workload.Flow, string) {}
func (nobody) Use(telemetry.Use)                {}

func (nobody) Verify(context.Context, *workload.Destination, string, netip.AddrPort) error {
	return nil
}
