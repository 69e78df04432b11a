package registry

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// resourceName is what identities and destinations may be called: the name of an
// identity is also the name of its state folder and a metric's label.
var resourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkResourceName(name, path string, r *report) {
	if !resourceName.MatchString(name) {
		r.wrong(path, "%q is no name; write up to 63 letters, digits, dots, hyphens and underscores, a letter or digit first", name)
	}
}

// Compile checks resources and makes a Policy of them. It returns Problems with
// everything that is wrong, or a policy with what an administrator should know.
// The order in which resources are written makes no difference to the policy.
func Compile(resources Resources, accounts workload.Accounts) (*Policy, []Problem, error) {
	var r report
	p := &Policy{
		exact:    make(map[hostPort]*workload.Destination),
		wildcard: make(map[hostPort]*workload.Destination),
		byPort:   make(map[uint16][]*workload.Destination),
	}
	names := p.addIdentities(resources.Identities, accounts, &r)
	p.addDestinations(resources.Destinations, names, accounts, &r)
	if len(r.problems) > 0 {
		return nil, nil, r.problems
	}
	slices.SortFunc(p.identities, func(a, b *workload.Identity) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.destinations, func(a, b *workload.Destination) int { return cmp.Compare(a.Name, b.Name) })
	for _, d := range p.destinations {
		for _, port := range d.Ports {
			p.byPort[port] = append(p.byPort[port], d)
		}
	}
	p.watch = p.compileWatch()
	return p, r.warnings, nil
}

// addIdentities returns the names of all identities, valid or not, so that a
// destination that lists one is not blamed for its other faults.
func (p *Policy) addIdentities(specs []IdentitySpec, accounts workload.Accounts, r *report) []string {
	var names []string
	for i := range specs {
		spec, path := &specs[i], element("identities", i)
		checkResourceName(spec.Name, path+".name", r)
		if slices.Contains(names, spec.Name) {
			r.wrong(path+".name", "the identity %q is declared twice; rename one", spec.Name)
		}
		names = append(names, spec.Name)
		selector, err := workload.NewSelector(spec.Match, accounts)
		if err != nil {
			reportSelector(err, fmt.Sprintf("identity %q", spec.Name), path+".match", r)
			continue
		}
		if selector.Condition("").IsZero() {
			r.warn(path+".match", "the kernel can check no condition of identity %q, so every connection of every process to a watched port is looked at in user space; "+
				"add an exe whose last component is no pattern, a user, a cgroup or a systemd_unit", spec.Name)
		}
		p.identities = append(p.identities, &workload.Identity{Name: spec.Name, Selector: selector, LocalAPI: spec.LocalAPI})
	}
	return names
}

func reportSelector(err error, of, path string, r *report) {
	var wrong workload.SelectorErrors
	if !errors.As(err, &wrong) {
		r.wrong(path, "%s: %v", of, err)
		return
	}
	for _, one := range wrong {
		at := path
		if one.Kind != "" {
			at += "." + string(one.Kind)
		}
		if one.Index >= 0 {
			at = element(at, one.Index)
		}
		r.wrong(at, "%s: %v", of, one)
	}
}

func (p *Policy) addDestinations(specs []DestinationSpec, identities []string, accounts workload.Accounts, r *report) {
	var names []string
	for i := range specs {
		spec, path := &specs[i], element("destinations", i)
		d := compileDestination(spec, accounts, path, r)
		if slices.Contains(names, d.Name) {
			r.wrong(path+".name", "the destination %q is declared twice; rename one", d.Name)
		}
		names = append(names, d.Name)
		checkIdentities(d, identities, path+".identities", r)
		p.addHosts(d, path+".hosts", r)
		p.destinations = append(p.destinations, d)
	}
}

func checkIdentities(d *workload.Destination, known []string, path string, r *report) {
	if len(d.Identities) == 0 {
		r.wrong(path, "no identity; name those that get a token at %q", d.Name)
	}
	for i, name := range d.Identities {
		switch {
		case !slices.Contains(known, name):
			r.wrong(element(path, i), "no identity is called %q; declare it below identities, or correct the name", name)
		case slices.Contains(d.Identities[:i], name):
			r.wrong(element(path, i), "%q is listed twice; leave one out", name)
		}
	}
}

// addHosts enters every host and port of the destination, and refuses those that
// another destination has.
func (p *Policy) addHosts(d *workload.Destination, path string, r *report) {
	for _, host := range d.Hosts {
		table, name := p.exact, host
		if suffix, ok := strings.CutPrefix(host, "*."); ok {
			table, name = p.wildcard, suffix
		}
		for _, port := range d.Ports {
			key := hostPort{name, port}
			if other := table[key]; other != nil {
				r.wrong(path, "%s port %d is also in destination %q; leave it in one of them", host, port, other.Name)
				continue
			}
			table[key] = d
		}
	}
}
