package check

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Bounds of what the kernel tells by itself, as package probe has them.
const (
	kernelIdentities = 64
	kernelNameSize   = 63
)

// Doubts says of which identities the kernel cannot tell every process while no
// agent answers, and why: what only might be one of them passes to destinations
// that fail closed. links says how many names a file has, 0 where that is not known.
func Doubts(policy *registry.Policy, links func(path string) uint64) []string {
	var warnings []string
	identities := policy.Identities()
	for _, identity := range identities {
		if !isGuarded(policy, identity.Name) {
			continue
		}
		if reasons := doubts(identity, links); len(reasons) > 0 {
			warnings = append(warnings, fmt.Sprintf("identity %s: %s; while no agent answers, a process of it that only might be one "+
				"passes without a token, unless the destination says unknown: refuse", identity.Name, strings.Join(reasons, ", and ")))
		}
	}
	if len(identities) > kernelIdentities {
		warnings = append(warnings, fmt.Sprintf("%d identities, of which the kernel tells %d apart: those that share a place are never told for certain "+
			"while no agent answers; declare fewer, or write unknown: refuse at their destinations", len(identities), kernelIdentities))
	}
	return warnings
}

// isGuarded reports whether a destination that fails closed lists the identity.
func isGuarded(policy *registry.Policy, identity string) bool {
	return slices.ContainsFunc(policy.Destinations(), func(d *workload.Destination) bool {
		return d.Enforce && d.OnFailure == workload.FailClosed && d.Lists(identity)
	})
}

func doubts(identity *workload.Identity, links func(string) uint64) []string {
	selector := identity.Selector
	sure := selector.Condition(identity.Name).Certain
	if sure == nil {
		return []string{"its cmdline is only the agent's to read, so that the kernel knows a process of it once the agent recognised that"}
	}
	var reasons []string
	switch patterns := len(selector.Values(workload.KindExecutable)) - len(sure.Files); {
	case selector.Needs(workload.KindSHA256):
		reasons = append(reasons, "a sha256 is not known of a file until the agent recognised a process of it")
	case patterns > 0:
		reasons = append(reasons, "its exe is a pattern, so that a file is not known until the agent recognised a process of it")
	}
	for _, path := range sure.Files {
		if n := links(path); n > 1 {
			reasons = append(reasons, fmt.Sprintf("%s is a file of %d names, and the kernel does not say which of them runs", Printable(path), n))
		}
	}
	return append(reasons, doubtsOfPlace(selector, sure)...)
}

// doubtsOfPlace are those about the cgroup.
func doubtsOfPlace(selector workload.Selector, sure *workload.Certainty) []string {
	unit, cgroup := selector.Needs(workload.KindSystemdUnit), selector.Needs(workload.KindCgroup)
	switch {
	case unit && cgroup:
		return []string{"systemd_unit and cgroup together are only the agent's to judge, so that a cgroup is not known until a process in it was seen"}
	case unit && !sure.UnitsOnly:
		return []string{"its systemd_unit is a pattern, so that a unit is not known until a process in it was seen"}
	case unit && slices.ContainsFunc(sure.Units, func(name string) bool { return len(name) > kernelNameSize }):
		return []string{fmt.Sprintf("the name of its systemd_unit is longer than the %d characters that the kernel compares, so that it is not known until a process in it was seen", kernelNameSize)}
	case cgroup && len(sure.Cgroups) < len(selector.Values(workload.KindCgroup)):
		return []string{"its cgroup is a pattern, so that a cgroup is not known until a process in it was seen"}
	}
	return nil
}

// Server is a server that the host itself depends on.
type Server struct {
	What string // it is, and which setting names it
	Host string // name, or address without brackets
	Port uint16
}

// ServerAt reads a server out of a URL.
func ServerAt(what, rawURL string) (Server, bool) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return Server{}, false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	var number uint16
	_, err = fmt.Sscan(port, &number)
	return Server{What: what, Host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), Port: number}, err == nil
}

// Unreachable says which servers, that the host depends on, unknown: refuse would
// close to whoever might have an identity, while no agent answers.
func Unreachable(policy *registry.Policy, servers []Server) []string {
	var warnings []string
	for _, d := range policy.Destinations() {
		if d.Unknown != workload.UnknownRefusedElsewhere && d.Unknown != workload.UnknownRefused {
			continue
		}
		for _, s := range servers {
			if s.isAt(policy, d) {
				warnings = append(warnings, fmt.Sprintf("destination %s: unknown: %s would also close %s (%s port %d) while no agent answers; "+
					"leave it out there, or give that server an address of its own", d.Name, d.Unknown, s.What, Printable(s.Host), s.Port))
			}
		}
	}
	return warnings
}

func (s Server) isAt(policy *registry.Policy, d *workload.Destination) bool {
	if policy.Destination(s.Host, s.Port) == d {
		return true
	}
	addr, err := netip.ParseAddr(s.Host)
	return err == nil && slices.Contains(d.Ports, s.Port) &&
		slices.ContainsFunc(d.Addresses, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}
