//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// agent is what the real one does with a probe, as far as the kernel can tell:
// listeners that are marked and announced, and a heartbeat.
type agent struct {
	probe     *Probe
	cookie    uint64
	listeners map[Family]*net.TCPListener

	cancel context.CancelFunc
	ran    chan error

	mu    sync.Mutex
	ended []workload.Image
}

// here is where code runs that needs no other network namespace.
func here(f func() error) error { return f() }

// everyone is a watch on one port of every address, for an identity that every
// caller has.
func everyone(port uint16) workload.Watch {
	return workload.Watch{
		Ports:      []workload.WatchedPort{{Port: port}},
		Conditions: []workload.Condition{{Identity: everybody, Certain: &workload.Certainty{}}},
	}
}

const everybody = "everybody"

func openAgent(config Config, in func(func() error) error) (*agent, error) {
	config.Logger = slog.New(slog.DiscardHandler)
	p, err := Open(config)
	if err != nil {
		return nil, err
	}
	a := &agent{probe: p, listeners: map[Family]*net.TCPListener{}}
	err = in(func() (err error) {
		a.cookie, err = cookieHere()
		return err
	})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return a, nil
}

func cookieHere() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// listen makes the injector's listeners, marks and announces them.
func (a *agent) listen(in func(func() error) error) error {
	for family, address := range map[Family]string{unix.AF_INET: "127.0.0.1:0", unix.AF_INET6: "[::1]:0"} {
		listener, err := listenTCP(in, address)
		if err != nil {
			return err
		}
		a.listeners[family] = listener
		if err := a.probe.MarkInjector(listener, portOf(listener)); err != nil {
			return err
		}
		if err := a.announce(family, true); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) announce(family Family, routable bool) error {
	return a.probe.Ready(Readiness{
		NetNS: a.cookie, Family: family, Ports: onlyAt(portOf(a.listeners[family])), Routable: routable,
	})
}

// onlyAt has one listener stand for all.
func onlyAt(port uint16) (ports Ports) {
	for i := range ports {
		ports[i] = port
	}
	return ports
}

// run starts the heartbeat.
func (a *agent) run() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.ran = cancel, make(chan error, 1)
	go func() {
		a.ran <- a.probe.Run(ctx, func(i workload.Image) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.ended = append(a.ended, i)
		})
	}()
}

// halt ends the heartbeat and the listeners; the kernel half stays as it is.
func (a *agent) halt() error {
	var errs []error
	if a.cancel != nil {
		a.cancel()
		errs = append(errs, <-a.ran)
		a.cancel = nil
	}
	for family, listener := range a.listeners {
		errs = append(errs, listener.Close())
		delete(a.listeners, family)
	}
	return errors.Join(errs...)
}

// leave ends the agent as a crash would, as far as the kernel can tell.
func (a *agent) leave() error { return errors.Join(a.halt(), a.probe.Leave()) }

func (a *agent) close() error { return errors.Join(a.halt(), a.probe.Close()) }

func (a *agent) hasEnded(i workload.Image) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.ended {
		if e == i {
			return nil
		}
	}
	return fmt.Errorf("the end of %v was not delivered, only %v", i, a.ended)
}

func listenTCP(in func(func() error) error, address string) (*net.TCPListener, error) {
	var listener *net.TCPListener
	err := in(func() error {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		l, err := config.Listen(context.Background(), "tcp", address)
		if err == nil {
			listener = l.(*net.TCPListener)
		}
		return err
	})
	return listener, err
}

func portOf(listener net.Listener) uint16 {
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}
