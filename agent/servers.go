//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
)

// startServers makes the local API's and the health listeners and serves them.
func (a *Agent) startServers(ctx context.Context, parts *errgroup.Group) ([]*http.Server, error) {
	var servers []*http.Server
	serve := func(s *http.Server, l net.Listener) {
		servers = append(servers, s)
		parts.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	api := a.newLocalAPI().Handler()
	for _, address := range a.settings.LocalAPI {
		l, flows, err := a.listenLocalAPI(ctx, address)
		if localapi.LacksFamily(err) && strings.HasPrefix(address, "[") {
			a.log.Info("local API address left out; this host lacks the family", "address", address)
			continue
		}
		if err != nil {
			return servers, err
		}
		serve(localapi.NewServer(api, flows), l)
	}
	if a.settings.LocalSocket != "" {
		l, err := localapi.ListenUnix(ctx, a.settings.LocalSocket)
		if err != nil {
			return servers, err
		}
		serve(localapi.NewServer(api, nil), l)
	}
	if a.settings.Metrics != "" {
		l, err := localapi.ListenTCP(ctx, a.settings.Metrics, "LANYARD_METRICS")
		if err != nil {
			return servers, err
		}
		serve(newHealthServer(a.health.handler(a.recorder.Handler())), l)
	}
	return servers, nil
}

func (a *Agent) newLocalAPI() *localapi.API {
	return localapi.New(localapi.Config{
		Log: a.log, Key: a.key, Addresses: a.settings.LocalAPI,
		Callers:  localCallers{processes: a.processes, registry: a.registry},
		Tokens:   a.tokens,
		Workload: a.workload,
		Identity: a.localIdentity,
	})
}

// listenLocalAPI makes one listener of the local API and has its callers
// published.
func (a *Agent) listenLocalAPI(ctx context.Context, address string) (net.Listener, localapi.Flows, error) {
	l, err := localapi.ListenTCP(ctx, address, "LANYARD_LOCAL_API")
	if err != nil {
		return nil, nil, err
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	if !knownAtOnce(at.Addr()) {
		a.log.Info("callers of this local API address need the key; only a loopback address tells who calls", "address", address)
		return l, nil, nil
	}
	if err := a.probe.MarkLocalAPI(l, at.Port()); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	cookie, err := probe.NetNSCookie(l)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, a.probe.Flows(cookie), nil
}

// knownAtOnce reports whether every caller of this address is a process of this
// host, whose connect() the hooks saw.
func knownAtOnce(addr netip.Addr) bool { return addr.IsLoopback() }
