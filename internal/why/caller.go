package why

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/check"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxShown bounds the identities and destinations that a step tells about.
const maxShown = 8

func describe(p *workload.Process) string {
	user := p.User
	if user == "" {
		user = fmt.Sprint(p.UID)
	}
	exe := p.Executable
	if exe == "" {
		exe = "an executable that is not known (" + p.ExecutableNote + ")"
	}
	if p.Image.PID == 0 {
		return fmt.Sprintf("%s of user %s", exe, user)
	}
	return fmt.Sprintf("pid %d (%s of user %s)", p.Image.PID, exe, user)
}

func (e *explanation) reach() {
	if e.world.Reach != nil {
		// What nobody can serve is the kernel's to decide, by the fail policy.
		e.answered("agent", workload.AgentUnavailable, e.world.Reach(e.subject.Process))
	}
}

// watched says whether the kernel looks at connects to the port at all.
func (e *explanation) watched() {
	const step = "port"
	for _, watched := range e.world.Policy.Watch().Ports {
		if watched.Port != e.target.port {
			continue
		}
		literal, err := netip.ParseAddr(e.target.host)
		if err == nil && watched.Prefixes != nil && !slices.ContainsFunc(watched.Prefixes, func(p netip.Prefix) bool { return p.Contains(literal) }) {
			e.no(step, "", fmt.Sprintf("port %d is watched at some addresses only, and %v is none of them", e.target.port, literal),
				fmt.Sprintf("add %v to addresses of the destination", netip.PrefixFrom(literal, literal.BitLen())))
			return
		}
		e.ok(step, "port %d is watched", e.target.port)
		return
	}
	e.no(step, "", fmt.Sprintf("no destination has port %d, so that connects to it are not looked at", e.target.port),
		fmt.Sprintf("write %d in ports of the destination that is meant", e.target.port))
}

// candidate says whether the connect hook redirects the caller.
func (e *explanation) candidate() {
	const step = "kernel"
	p := e.subject.Process
	var candidates, missed []string
	for _, condition := range e.world.Policy.Watch().Conditions {
		if miss := e.misses(condition, p); miss != "" {
			missed = append(missed, condition.Identity+" ("+miss+")")
			continue
		}
		candidates = append(candidates, condition.Identity)
	}
	if len(candidates) > 0 {
		e.ok(step, "the connect hook redirects it: by what the kernel knows it may be %s", some(candidates))
		return
	}
	if len(missed) == 0 {
		e.no(step, "", "no identity is configured", "declare one for this program")
		return
	}
	e.no(step, "", "the connect hook lets it pass: it fails a condition of every identity: "+some(missed), "")
}

// misses says which condition the hook finds unmet, "" for none.
func (e *explanation) misses(c workload.Condition, p *workload.Process) string {
	unknown := func(kind workload.SelectorKind) bool { return slices.Contains(e.subject.Unknown, kind) }
	switch name := path.Base(p.Executable); {
	case c.ExecutableNames != nil && p.Executable != "" && !slices.Contains(c.ExecutableNames, name):
		return "its file's name is " + name
	case c.UIDs != nil && !slices.Contains(c.UIDs, p.UID):
		return "its user is another"
	case c.GIDs != nil && !unknown(workload.KindGroup) && !slices.Contains(c.GIDs, p.GID):
		return "its group is another"
	case c.Cgroup != nil && !unknown(workload.KindCgroup) && !c.Cgroup(p.Cgroup):
		return "its cgroup is another"
	}
	return ""
}

// identify says which identity the process has.
func (e *explanation) identify() {
	const step = "identity"
	p := e.subject.Process
	identity, err := e.world.Policy.Identify(p)
	var tie *workload.AmbiguousError
	switch {
	case errors.As(err, &tie):
		e.no(step, workload.IdentityAmbiguous, "identities "+strings.Join(tie.Identities, " and ")+" match equally well", "make one of them more specific")
	case err != nil:
		e.no(step, workload.NoIdentity, err.Error(), "")
	case identity != nil:
		e.identity = identity
		e.ok(step, "it is %s", identity.Name)
	default:
		e.nobody(step)
	}
}

// nobody says of each identity, first of those that the destination lists, what the
// process does not meet.
func (e *explanation) nobody(step string) {
	p := e.subject.Process
	identities := e.world.Policy.Identities()
	if e.destination != nil {
		listed := func(i *workload.Identity) int {
			if e.destination.Lists(i.Name) {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(identities, func(a, b *workload.Identity) int { return listed(a) - listed(b) })
	}
	lines, hints, open := []string{"no identity matches"}, []string{}, []string{}
	for i, identity := range identities {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("%d more", len(identities)-i))
			break
		}
		line, unknown := e.mismatch(identity)
		lines = append(lines, line)
		if unknown {
			open = append(open, identity.Name)
		}
		if hint := check.Hint(identity, p); hint != "" {
			hints = append(hints, hint)
		}
	}
	if len(open) > 0 {
		e.no(step, workload.NoIdentity, strings.Join(lines, "\n"), "whether it is "+some(open)+" cannot be told by what was given: ask about a process, with --pid")
		return
	}
	e.no(step, workload.NoIdentity, strings.Join(lines, "\n"), strings.Join(hints, "\n"))
}

// mismatch says what a process does not meet of an identity, and whether all of that is
// merely not known.
func (e *explanation) mismatch(identity *workload.Identity) (line string, unknown bool) {
	var parts []string
	unknown = true
	for _, m := range identity.Selector.Mismatches(e.subject.Process) {
		had := check.Shorten(m.Had)
		if had == "" {
			had = "none that is known"
		}
		if slices.Contains(e.subject.Unknown, m.Kind) {
			had = "one that was not given"
		} else {
			unknown = false
		}
		parts = append(parts, fmt.Sprintf("%s: wanted %s, has %s", m.Kind, strings.Join(m.Wanted, " or "), check.Printable(had)))
	}
	return identity.Name + ": " + strings.Join(parts, "; "), unknown
}

// some lists a few of many.
func some(all []string) string {
	if len(all) > maxShown {
		return strings.Join(all[:maxShown], ", ") + fmt.Sprintf(" and %d more", len(all)-maxShown)
	}
	return strings.Join(all, ", ")
}
