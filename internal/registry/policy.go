package registry

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Policy answers who a process is and which rule a request falls under. It is
// immutable, and so safe for concurrent use; pointers into it compare equal for
// as long as the policy is the same.
type Policy struct {
	identities   []*workload.Identity    // by name
	destinations []*workload.Destination // by name
	exact        map[hostPort]*workload.Destination
	wildcard     map[hostPort]*workload.Destination // without the leading "*."
	byPort       map[uint16][]*workload.Destination // each by name
	watch        workload.Watch
}

type hostPort struct {
	host string
	port uint16
}

// Identify returns the identity that describes the process most specifically,
// nil if none matches, and *workload.AmbiguousError if several match equally
// well.
func (p *Policy) Identify(process *workload.Process) (*workload.Identity, error) {
	var best *workload.Identity
	var rank workload.Specificity // the zero one is below that of every match
	var ties []string
	for _, identity := range p.identities {
		r, ok := identity.Selector.Specificity(process)
		if !ok {
			continue
		}
		switch c := r.Compare(rank); {
		case c > 0:
			best, rank, ties = identity, r, nil
		case c == 0:
			ties = append(ties, identity.Name)
		}
	}
	if ties != nil {
		return nil, &workload.AmbiguousError{Image: process.Image, Identities: append([]string{best.Name}, ties...)}
	}
	return best, nil
}

// Destination returns the destination that a host and a port are registered
// under, or nil. The host is normalised: lower case, no trailing dot, no
// brackets. A name registered as it stands beats every wildcard, and a longer
// wildcard a shorter one; a wildcard stands for one label or more. It does not
// allocate for names.
func (p *Policy) Destination(host string, port uint16) *workload.Destination {
	if strings.IndexByte(host, ':') >= 0 {
		addr, ok := isAddress(host)
		if !ok || addr.Zone() != "" {
			return nil
		}
		host = addr.Unmap().String()
	}
	if d := p.exact[hostPort{host, port}]; d != nil {
		return d
	}
	if len(p.wildcard) == 0 {
		return nil
	}
	for suffix := host; ; {
		label, rest, ok := strings.Cut(suffix, ".")
		if !ok || label == "" {
			return nil
		}
		if d := p.wildcard[hostPort{rest, port}]; d != nil {
			return d
		}
		suffix = rest
	}
}

// AtPort lists the destinations with this port, by name. The caller must not change
// the list.
func (p *Policy) AtPort(port uint16) []*workload.Destination { return p.byPort[port] }

// Identity returns the identity of this name, or nil.
func (p *Policy) Identity(name string) *workload.Identity {
	for _, identity := range p.identities {
		if identity.Name == name {
			return identity
		}
	}
	return nil
}

// Identities lists the identities by name.
func (p *Policy) Identities() []*workload.Identity { return slices.Clone(p.identities) }

// Destinations lists the destinations by name.
func (p *Policy) Destinations() []*workload.Destination { return slices.Clone(p.destinations) }

// Needs reports whether any identity has a condition of this kind, so that the
// fact has to be obtained.
func (p *Policy) Needs(kind workload.SelectorKind) bool {
	return slices.ContainsFunc(p.identities, func(i *workload.Identity) bool { return i.Selector.Needs(kind) })
}

// Registry holds the policy of the moment. It is safe for concurrent use.
type Registry struct{ current atomic.Pointer[Policy] }

// New makes a registry that holds this policy.
func New(p *Policy) *Registry {
	var r Registry
	r.current.Store(p)
	return &r
}

// Current returns the policy of the moment. Whoever decides several things about
// one request decides them by one policy.
func (r *Registry) Current() *Policy { return r.current.Load() }

// Swap puts a policy in place of the current one, which it returns.
func (r *Registry) Swap(p *Policy) *Policy { return r.current.Swap(p) }
