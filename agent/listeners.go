//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
)

// namespace holds the injector's listeners in one network namespace and keeps
// the kernel informed of them. It is safe for concurrent use.
type namespace struct {
	probe  *probe.Probe
	health *health
	log    *slog.Logger

	mu        sync.Mutex         // guards what follows, but for how many there are
	listeners []*net.TCPListener // of one family after the other
	announced []probe.Readiness  // of each family
	answers   bool               // the kernel was told of them
}

// listenHere makes the injector's listeners on both loopback addresses of the
// namespace the agent runs in, and marks them. A family that the namespace lacks is
// left out.
func listenHere(ctx context.Context, p *probe.Probe, h *health, log *slog.Logger) (*namespace, error) {
	n := &namespace{probe: p, health: h, log: log}
	for _, at := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		err := n.listen(ctx, at)
		if localapi.LacksFamily(err) && at.Is6() {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	n.turnAway()
	return n, nil
}

// turnAway has the kernel turn away who comes to the listeners without being sent. Have mu
// held, or nobody else know of n.
func (n *namespace) turnAway() {
	if err := n.probe.TurnAway(n.ports()); err != nil {
		n.log.Warn("connections that strangers make to the injector are reset one by one, not by the kernel", "error", err)
	}
}

// ports returns the ports of each family's listeners.
func (n *namespace) ports() map[probe.Family]probe.Ports {
	ports := map[probe.Family]probe.Ports{}
	for _, family := range n.announced {
		ports[family.Family] = family.Ports
	}
	return ports
}

// listen makes all listeners of one family.
func (n *namespace) listen(ctx context.Context, at netip.Addr) error {
	ready := probe.Readiness{Family: familyOf(at)}
	for i := range ready.Ports {
		listener, err := n.listenOnce(ctx, at)
		if listener != nil {
			n.listeners = append(n.listeners, listener)
		}
		if err != nil {
			return err
		}
		ready.Ports[i] = portOf(listener)
		if ready.NetNS, err = probe.NetNSCookie(listener); err != nil {
			return err
		}
	}
	n.announced = append(n.announced, ready)
	return nil
}

func portOf(l *net.TCPListener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

func familyOf(addr netip.Addr) probe.Family {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// listenOnce makes one listener, and marks it.
func (n *namespace) listenOnce(ctx context.Context, at netip.Addr) (*net.TCPListener, error) {
	// Who connects is a process of this host, whose end the kernel tells: keeping
	// alive would cost four system calls for each connection.
	l, err := listen.TCP(ctx, listen.Config{KeepAlive: -1}, netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return nil, fmt.Errorf("listen for redirected connections: %w", err)
	}
	listener := l.TCPListener // nobody comes back to a port of the kernel's choice
	return listener, n.probe.MarkInjector(listener, portOf(listener))
}

// serve has the listener of a place served until ctx ends, or the server. One that fails
// is made anew: until then whoever is sent there meets the fail policy, and all others are
// served.
func (n *namespace) serve(ctx context.Context, place int, serve func(context.Context, net.Listener) error) {
	for {
		l := n.listenerAt(place)
		part := "injector " + l.Addr().String()
		err := serve(ctx, l)
		if err == nil {
			return
		}
		_ = l.Close() // what is wrong with it is known
		for err != nil {
			if n.health.degrade(part, err.Error()) {
				n.log.Error("one of the injector's listeners failed, and is opened again; callers that are sent to it are refused at closed destinations", "error", err)
			}
			if err = n.reopen(ctx, place); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryPause):
			}
		}
		n.health.ok(part)
		n.log.Info("one of the injector's listeners was opened again", "was", l.Addr().String(), "is", n.listenerAt(place).Addr().String())
	}
}

func (n *namespace) listenerAt(place int) *net.TCPListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listeners[place]
}

// reopen makes the listener of a place anew, and has the kernel send callers there.
func (n *namespace) reopen(ctx context.Context, place int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := n.listeners[place].Addr().(*net.TCPAddr).AddrPort().Addr()
	l, err := n.listenOnce(ctx, at)
	if err != nil {
		if l != nil {
			_ = l.Close() // nobody was sent there
		}
		return err
	}
	n.listeners[place] = l
	ready := &n.announced[place/probe.Listeners]
	ready.Ports[place%probe.Listeners] = portOf(l)
	n.turnAway()
	if !n.answers {
		return nil
	}
	return n.probe.Ready(*ready)
}

// announce tells the kernel where the listeners are and which families lead
// somewhere. Call it again when routes have changed.
func (n *namespace) announce() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.announced {
		leads, err := routable(n.announced[i].Family)
		if err != nil {
			return err
		}
		n.announced[i].Routable = leads
		if err := n.probe.Ready(n.announced[i]); err != nil {
			return err
		}
	}
	n.answers = true
	return nil
}

// tellSources tells the kernel which addresses the namespace connects from. Call it when
// routes may have changed.
func (n *namespace) tellSources() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sources := map[netip.Prefix]netip.Addr{}
	for _, family := range n.announced {
		more, err := sourceAddresses(family.Family)
		if err != nil {
			return err
		}
		maps.Copy(sources, more)
	}
	return n.probe.SetSourceAddresses(n.announced[0].NetNS, sources)
}

func (n *namespace) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, l := range n.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
