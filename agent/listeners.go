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

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
)

// namespace holds the injector's listeners in one network namespace and keeps
// the kernel informed of them.
type namespace struct {
	probe     *probe.Probe
	listeners []*net.TCPListener

	mu        sync.Mutex
	announced []probe.Readiness
}

// listenHere makes the injector's listeners on both loopback addresses of the
// namespace the agent runs in, and marks them. A family that the namespace lacks is
// left out.
func listenHere(ctx context.Context, p *probe.Probe, log *slog.Logger) (*namespace, error) {
	n := &namespace{probe: p}
	for _, at := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		err := n.listen(ctx, at)
		if localapi.LacksFamily(err) && at.Is6() {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	if err := p.TurnAway(n.ports()); err != nil {
		log.Warn("connections that strangers make to the injector are reset one by one, not by the kernel", "error", err)
	}
	return n, nil
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
		if err != nil {
			return err
		}
		ready.Ports[i] = listener.Addr().(*net.TCPAddr).AddrPort().Port()
		if ready.NetNS, err = probe.NetNSCookie(listener); err != nil {
			return err
		}
	}
	n.announced = append(n.announced, ready)
	return nil
}

func familyOf(addr netip.Addr) probe.Family {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (n *namespace) listenOnce(ctx context.Context, at netip.Addr) (*net.TCPListener, error) {
	// Who connects is a process of this host, whose end the kernel tells: keeping
	// alive would cost four system calls for each connection.
	l, err := listen.TCP(ctx, listen.Config{KeepAlive: -1}, netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return nil, fmt.Errorf("listen for redirected connections: %w", err)
	}
	listener := l.TCPListener // nobody comes back to a port of the kernel's choice
	n.listeners = append(n.listeners, listener)
	return listener, n.probe.MarkInjector(listener, listener.Addr().(*net.TCPAddr).AddrPort().Port())
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
	var errs []error
	for _, l := range n.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
