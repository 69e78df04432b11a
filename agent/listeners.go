//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
)

// namespace holds the injector's listeners in one network namespace and keeps
// the kernel informed of them.
type namespace struct {
	probe     *probe.Probe
	cookie    uint64
	listeners []*net.TCPListener

	mu        sync.Mutex
	announced []probe.Listener
}

// listenHere makes the injector's listeners on both loopback addresses of the
// namespace the agent runs in. A family that the namespace lacks is left out.
func listenHere(ctx context.Context, p *probe.Probe) (*namespace, error) {
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
	return n, nil
}

func (n *namespace) listen(ctx context.Context, at netip.Addr) error {
	var config net.ListenConfig
	// A multipath listener's sub-flows would be other sockets than the one we mark.
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return fmt.Errorf("listen for redirected connections: %w", err)
	}
	listener := l.(*net.TCPListener)
	n.listeners = append(n.listeners, listener)
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	if err := n.probe.MarkInjector(listener, port); err != nil {
		return err
	}
	cookie, err := probe.NetNSCookie(listener)
	if err != nil {
		return err
	}
	n.cookie = cookie
	family := probe.Family(unix.AF_INET)
	if at.Is6() {
		family = unix.AF_INET6
	}
	n.announced = append(n.announced, probe.Listener{NetNS: cookie, Family: family, Port: port})
	return nil
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

func (n *namespace) close() error {
	var errs []error
	for _, l := range n.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
