//go:build linux

package agent

import (
	"context"
	"errors"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
)

const localAPISetting = "LANYARD_LOCAL_API"

// localListeners makes the listeners of the local API. Each family has, beside those at
// the addresses that callers ask for, others to which the kernel sends the callers, so
// that identities meet no stranger there, as with the injector's. It is safe for
// concurrent use.
type localListeners struct {
	probe *probe.Probe

	mu  sync.Mutex
	has map[probe.Family]bool // such others; all addresses of a family share them
}

func newLocalListeners(p *probe.Probe) *localListeners {
	return &localListeners{probe: p, has: map[probe.Family]bool{}}
}

// listen makes the listener of one address, and tells whether its callers are known: only
// those of a loopback address are, each of which is a process of this host, whose
// connect() the hooks saw.
func (s *localListeners) listen(ctx context.Context, address string) (l net.Listener, known bool, err error) {
	asked, err := localapi.ListenTCP(ctx, address, localAPISetting)
	if err != nil {
		return nil, false, err
	}
	at := asked.Addr().(*net.TCPAddr).AddrPort()
	if !at.Addr().IsLoopback() {
		return asked, false, nil
	}
	all := &localAPIListener{Listener: asked}
	err = s.probe.MarkLocalAPI(asked, at.Port())
	if family := familyOf(at.Addr()); err == nil && s.claim(family) {
		all.withdraw = sync.OnceValue(func() error { defer s.giveUp(family); return s.unannounce(asked, family) })
		err = s.listenBeside(ctx, family, all)
	}
	if err != nil {
		return nil, false, errors.Join(err, all.Close())
	}
	return all, true, nil
}

// claim reports whether the family had no others, and has them from now on.
func (s *localListeners) claim(family probe.Family) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.has[family]
	s.has[family] = true
	return !had
}

// errNoOthers says that whose address had the others has lost it.
var errNoOthers = errors.New("the listeners to which its callers are sent went with another address; it is opened again with some")

// look says whether an address has to be opened again, so that its family has others.
func (s *localListeners) look(l net.Listener) error {
	own, ok := l.(*localAPIListener)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has[familyOf(own.Addr().(*net.TCPAddr).AddrPort().Addr())] {
		return errNoOthers
	}
	return nil
}

func (s *localListeners) giveUp(family probe.Family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has[family] = false
}

// listenBeside makes the others of a family, and has the kernel send callers there.
func (s *localListeners) listenBeside(ctx context.Context, family probe.Family, l *localAPIListener) error {
	loopback := "127.0.0.1:0"
	if family == unix.AF_INET6 {
		loopback = "[::1]:0"
	}
	var ports probe.Ports
	for i := range ports {
		other, err := localapi.ListenTCP(ctx, loopback, localAPISetting)
		if err != nil {
			return err
		}
		// Nobody comes back to a port of the kernel's choice.
		l.others = append(l.others, &closedOnce{Listener: other.TCPListener, close: sync.OnceValue(other.Close)})
		ports[i] = other.Addr().(*net.TCPAddr).AddrPort().Port()
		if err := s.probe.MarkLocalAPI(other, ports[i]); err != nil {
			return err
		}
	}
	netns, err := probe.NetNSCookie(l.Listener)
	if err != nil {
		return err
	}
	return s.probe.LocalReady(netns, family, ports)
}

func (s *localListeners) unannounce(l *listen.Listener, family probe.Family) error {
	netns, err := probe.NetNSCookie(l)
	if err != nil {
		return err
	}
	return s.probe.LocalUnready(netns, family)
}

// localAPIListener is a listener at an address that callers ask for, with those to which
// the kernel sends them.
type localAPIListener struct {
	*listen.Listener
	others   []*closedOnce
	withdraw func() error // nil where it has no others
}

func (l *localAPIListener) beside() []net.Listener {
	all := make([]net.Listener, 0, len(l.others))
	for _, other := range l.others {
		all = append(all, other)
	}
	return all
}

// Close closes all of them; the kernel sends nobody there any more.
func (l *localAPIListener) Close() error {
	var errs []error
	if l.withdraw != nil {
		errs = append(errs, l.withdraw())
	}
	for _, other := range l.others {
		errs = append(errs, other.Close())
	}
	return errors.Join(append(errs, l.Listener.Close())...)
}

// closedOnce is closed by its server and with those that it is beside.
type closedOnce struct {
	net.Listener
	close func() error
}

// Close closes the listener; from the second call on it only says how that went.
func (l *closedOnce) Close() error { return l.close() }
