package check

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxNear bounds the near misses that are shown of one identity; the rest is
// counted.
const maxNear = 10

// Report is what a configuration would do with the processes of this moment.
type Report struct {
	Identities []IdentityReport `json:"identities"`
	Ties       []Tie            `json:"ties"`
	Processes  int              `json:"processes"` // looked at
	Hidden     int              `json:"hidden"`    // of them, whose executable we may not see
}

// IdentityReport is what one identity would do.
type IdentityReport struct {
	Name      string    `json:"name"`
	Processes []Process `json:"processes"`
	Near      []Near    `json:"near_misses"`
	NearMore  int       `json:"near_misses_not_shown"`
}

// Process is a running process.
type Process struct {
	PID         uint32 `json:"pid"`
	User        string `json:"user"`
	Executable  string `json:"exe"`
	Note        string `json:"note,omitempty"` // why the executable is not known, or has no digest
	Cgroup      string `json:"cgroup,omitempty"`
	SystemdUnit string `json:"systemd_unit,omitempty"`
}

// Near is a process that nearly has an identity.
type Near struct {
	Process
	Misses []Miss `json:"misses"`
	Hint   string `json:"hint,omitempty"` // what to write instead
}

// Miss is a condition that a process does not meet.
type Miss struct {
	Kind   workload.SelectorKind `json:"kind"`
	Wanted []string              `json:"wanted"`
	Had    string                `json:"had"`
}

// Tie is a process that two identities describe equally well.
type Tie struct {
	Process
	Identities []string `json:"identities"`
}

// Processes says which processes would get which identity. hidden is how many of
// them have an executable that we may not see.
func Processes(policy *registry.Policy, processes []*workload.Process, hidden int) Report {
	report := Report{Ties: []Tie{}, Identities: []IdentityReport{}, Processes: len(processes), Hidden: hidden}
	matched := map[string][]Process{}
	var rest []*workload.Process
	for _, p := range processes {
		identity, err := policy.Identify(p)
		if tie, ok := errors.AsType[*workload.AmbiguousError](err); ok {
			report.Ties = append(report.Ties, Tie{Process: describe(p), Identities: tie.Identities})
			continue
		}
		if identity == nil {
			rest = append(rest, p)
			continue
		}
		matched[identity.Name] = append(matched[identity.Name], describe(p))
	}
	for _, identity := range policy.Identities() {
		one := IdentityReport{Name: identity.Name, Processes: matched[identity.Name], Near: []Near{}}
		if one.Processes == nil {
			one.Processes = []Process{}
		}
		one.addNear(identity, rest)
		report.Identities = append(report.Identities, one)
	}
	return report
}

// addNear finds near misses among the processes that have no identity.
func (r *IdentityReport) addNear(identity *workload.Identity, processes []*workload.Process) {
	targets := programs(identity)
	for _, p := range processes {
		near, ok := nearMiss(identity.Selector, targets, p)
		switch {
		case !ok:
		case len(r.Near) < maxNear:
			r.Near = append(r.Near, near)
		default:
			r.NearMore++
		}
	}
}

// nearMiss reports whether a process that does not match nearly does: the path
// that was configured leads to what it runs, or it fails one condition only, and
// that is not merely that it runs another program.
func nearMiss(s workload.Selector, targets []program, p *workload.Process) (Near, bool) {
	missed := s.Mismatches(p)
	near := Near{Process: describe(p), Misses: misses(missed)}
	missesExe := slices.ContainsFunc(missed, func(m workload.Mismatch) bool { return m.Kind == workload.KindExecutable })
	if missesExe {
		near.Hint = hint(targets, p)
		return near, near.Hint != "" || (len(missed) == 1 && sameName(s, p))
	}
	return near, len(missed) == 1 && len(s.Kinds()) > 1
}

// sameName reports whether the process runs a program of a configured name that
// lies elsewhere.
func sameName(s workload.Selector, p *workload.Process) bool {
	return slices.ContainsFunc(s.Values(workload.KindExecutable), func(pattern string) bool {
		return p.Executable != "" && path.Base(pattern) == path.Base(p.Executable)
	})
}

// Hint says why a process does not have an identity although its configuration seems to
// name what it runs, and what to write instead, or "".
func Hint(identity *workload.Identity, p *workload.Process) string {
	return hint(programs(identity), p)
}

// hint explains why the executable of a process is not the one that was
// configured although it seems to be. It returns "" if it does not seem to be.
func hint(targets []program, p *workload.Process) string {
	for _, t := range targets {
		switch {
		case t.interpreter == p.Executable && p.Executable != "" && slices.Contains(p.CommandLine[min(1, len(p.CommandLine)):], t.path):
			return t.path + " " + t.problem
		case !t.script && t.isLink() && t.resolved == p.Executable:
			return t.path + " " + t.problem
		case p.Executable == "" && strings.HasPrefix(p.ExecutableNote, t.path+":"):
			return "the process runs something that it calls " + t.path + " and that this host does not: " + p.ExecutableNote
		}
	}
	return ""
}

func misses(missed []workload.Mismatch) []Miss {
	out := make([]Miss, len(missed))
	for i, m := range missed {
		out[i] = Miss{Kind: m.Kind, Wanted: m.Wanted, Had: Shorten(m.Had)}
	}
	return out
}

// maxShown bounds what is shown of a command line.
const maxShown = 120

// Shorten bounds what is shown of a text that a process chose.
func Shorten(s string) string {
	if runes := []rune(s); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return s
}

func describe(p *workload.Process) Process {
	user := p.User
	if user == "" {
		user = fmt.Sprint(p.UID)
	}
	return Process{
		PID: p.Image.PID, User: user, Executable: p.Executable, Note: p.ExecutableNote,
		Cgroup: p.Cgroup, SystemdUnit: p.SystemdUnit,
	}
}
