//go:build linux

package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Why an identity's request probably missed a destination.
const (
	missNotHTTP   = "not_http"   // at a destination's address and port, no plaintext HTTP/1: TLS, mostly
	missOtherPort = "other_port" // a registered host, at a port that it is not registered at
)

// maxPlaces bounds the hosts and addresses that are remembered of one identity: its
// programs choose them.
const maxPlaces = 256

// misses records uses, and finds among those of identities that have no destination the
// ones for which a token was probably meant: it says so once for each identity and
// place, and counts them. It is safe for concurrent use.
type misses struct {
	recorder injector.Recorder
	policy   func() *registry.Policy
	known    func() map[string][]netip.Addr // addresses by name, as verified
	count    func(identity, destination, reason string)
	log      *slog.Logger

	mu   sync.Mutex                   // guards what follows
	of   *registry.Policy             // what seen is about
	seen map[string]map[goal]probably // by identity
}

// findMisses returns the recorder of the injector.
func (a *Agent) findMisses() *misses {
	return &misses{recorder: a.recorder, policy: a.registry.Current, known: a.resolver.Known, count: a.recorder.Missed, log: a.log}
}

// goal is where a request or a connection went.
type goal struct {
	outcome workload.Outcome
	host    string         // of a request
	at      netip.AddrPort // of a connection; of a request the port alone
}

// probably is the destination that was meant, or nothing.
type probably struct{ destination, reason, do string }

// Use implements injector.Recorder. For all but what has no destination it only hands
// the use on.
func (m *misses) Use(u telemetry.Use) {
	m.recorder.Use(u)
	if u.Identity == "" {
		return
	}
	switch u.Outcome {
	case workload.NotHTTP:
		m.look(u.Identity, goal{outcome: u.Outcome, at: u.Peer.Original})
	case workload.NoDestination:
		m.look(u.Identity, goal{outcome: u.Outcome, host: u.Host, at: netip.AddrPortFrom(netip.Addr{}, u.Peer.Original.Port())})
	}
}

func (m *misses) look(identity string, at goal) {
	found, news := m.find(identity, at)
	if found.destination == "" {
		return
	}
	m.count(identity, found.destination, found.reason)
	if news {
		m.log.Info("an identity probably meant a destination, and gets no token there", "identity", identity,
			"destination", found.destination, "reason", found.reason, "host", at.host, "address", at.at.String(), "do", found.do)
	}
}

// find returns what was probably meant, and whether that is found for the first time
// under this policy.
func (m *misses) find(identity string, at goal) (found probably, news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if policy := m.policy(); policy != m.of {
		m.of, m.seen = policy, map[string]map[goal]probably{}
	}
	seen := m.seen[identity]
	if found, ok := seen[at]; ok {
		return found, false
	}
	if len(seen) >= maxPlaces {
		return probably{}, false
	}
	if at.outcome == workload.NotHTTP {
		found = m.byAddress(identity, at.at)
	} else {
		found = byHost(m.of, identity, at.host, at.at.Port())
	}
	if seen == nil {
		seen = map[goal]probably{}
		m.seen[identity] = seen
	}
	seen[at] = found
	return found, true
}

// byAddress finds a destination for a connection that was no HTTP.
func (m *misses) byAddress(identity string, at netip.AddrPort) probably {
	for _, d := range m.of.Destinations() {
		if !d.Enforce || !d.Lists(identity) || !slices.Contains(d.Ports, at.Port()) {
			continue
		}
		if slices.ContainsFunc(addressesOf(d, m.known()), func(p netip.Prefix) bool { return p.Contains(at.Addr()) }) {
			return probably{d.Name, missNotHTTP, "TLS and other protocols are relayed as they are; have the program use http:// at a plaintext port of the destination"}
		}
	}
	return probably{}
}

// byHost finds a destination that has the host at another port.
func byHost(policy *registry.Policy, identity, host string, port uint16) probably {
	for _, d := range policy.Destinations() {
		if !d.Enforce || !d.Lists(identity) {
			continue
		}
		for _, other := range d.Ports {
			if policy.Destination(host, other) == d {
				return probably{d.Name, missOtherPort, fmt.Sprintf("add %d to ports of %s, if the token is meant for that port, too", port, d.Name)}
			}
		}
	}
	return probably{}
}
