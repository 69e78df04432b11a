package workload

import (
	"fmt"
	"strconv"
	"strings"
)

// SelectorKind is a kind of condition that a selector can name.
type SelectorKind string

// The kinds of condition, named as in the configuration.
const (
	KindExecutable  SelectorKind = "exe"          // path of the running file, a pattern in which only ** crosses a slash
	KindSHA256      SelectorKind = "sha256"       // digest of the running file
	KindCommandLine SelectorKind = "cmdline"      // arguments joined by one space, a pattern in which * crosses anything
	KindUser        SelectorKind = "user"         // effective user
	KindGroup       SelectorKind = "group"        // effective group; supplementary groups do not count
	KindCgroup      SelectorKind = "cgroup"       // cgroup2 path and all below it, a pattern in which only ** crosses a slash
	KindSystemdUnit SelectorKind = "systemd_unit" // the system manager's unit, a pattern
)

// SelectorKinds lists every kind, in the order in which specificity compares
// them: first what fixes the program, then what fixes who runs it.
func SelectorKinds() []SelectorKind {
	return []SelectorKind{KindSHA256, KindExecutable, KindCommandLine, KindSystemdUnit, KindCgroup, KindUser, KindGroup}
}

// Selector says what a process must be to have an identity: every kind of
// condition that it names must hold, and within a kind any of the values. It is
// made by NewSelector, and so can match some process; the zero Selector matches
// none.
type Selector struct {
	conditions []condition // in the order of SelectorKinds, each kind at most once
}

// condition is one kind with its values.
type condition struct {
	kind   SelectorKind
	place  int // of the kind among SelectorKinds
	values []value
}

// value is one wanted value of a kind; which field counts, the kind says.
type value struct {
	text   string   // as it was configured
	path   pathGlob // exe, cgroup
	glob   glob     // cmdline, systemd_unit
	digest string   // sha256, lower-case hex
	id     uint32   // user, group
	weight int
}

// Mismatch is a kind of condition that a process does not meet.
type Mismatch struct {
	Kind   SelectorKind
	Wanted []string // any of these would do, as configured
	Had    string   // what the process has, or "" if that is not known
}

// IsZero reports whether the selector names nothing.
func (s Selector) IsZero() bool { return len(s.conditions) == 0 }

// Match reports whether the process meets every condition.
func (s Selector) Match(p *Process) bool {
	for i := range s.conditions {
		if _, ok := s.conditions[i].best(p); !ok {
			return false
		}
	}
	return len(s.conditions) > 0
}

// Mismatches lists the conditions that the process does not meet. It is empty
// for a process that matches.
func (s Selector) Mismatches(p *Process) []Mismatch {
	var missed []Mismatch
	for i := range s.conditions {
		c := &s.conditions[i]
		if _, ok := c.best(p); !ok {
			missed = append(missed, Mismatch{Kind: c.kind, Wanted: c.texts(), Had: had(p, c.kind)})
		}
	}
	return missed
}

// Kinds lists the kinds of condition that the selector names.
func (s Selector) Kinds() []SelectorKind {
	kinds := make([]SelectorKind, len(s.conditions))
	for i, c := range s.conditions {
		kinds[i] = c.kind
	}
	return kinds
}

// Needs reports whether the selector names the kind.
func (s Selector) Needs(kind SelectorKind) bool { return s.condition(kind) != nil }

// Values returns the values of a kind as they were configured, nil if the
// selector does not name it.
func (s Selector) Values(kind SelectorKind) []string {
	if c := s.condition(kind); c != nil {
		return c.texts()
	}
	return nil
}

// String writes every condition out: two selectors of the same text match the same
// processes.
func (s Selector) String() string {
	var text strings.Builder
	for i := range s.conditions {
		fmt.Fprintf(&text, "%s: %q\n", s.conditions[i].kind, s.conditions[i].texts())
	}
	return text.String()
}

func (s Selector) condition(kind SelectorKind) *condition {
	for i := range s.conditions {
		if s.conditions[i].kind == kind {
			return &s.conditions[i]
		}
	}
	return nil
}

func (c *condition) texts() []string {
	texts := make([]string, len(c.values))
	for i, v := range c.values {
		texts[i] = v.text
	}
	return texts
}

// best returns the weight of the most specific value that the process meets.
func (c *condition) best(p *Process) (int, bool) {
	text := ""
	if c.kind == KindCommandLine {
		text = joinCommandLine(p.CommandLine)
	}
	best, found := 0, false
	for i := range c.values {
		v := &c.values[i]
		if v.matches(c.kind, p, text) && (!found || v.weight > best) {
			best, found = v.weight, true
		}
	}
	return best, found
}

func (v *value) matches(kind SelectorKind, p *Process, commandLine string) bool {
	switch kind {
	case KindExecutable:
		return v.path.match(p.Executable)
	case KindSHA256:
		return p.SHA256 != "" && v.digest == p.SHA256
	case KindCommandLine:
		return commandLine != "" && v.glob.match(commandLine)
	case KindUser:
		return v.id == p.UID
	case KindGroup:
		return v.id == p.GID
	case KindCgroup:
		return v.path.match(p.Cgroup)
	case KindSystemdUnit:
		return p.SystemdUnit != "" && v.glob.match(p.SystemdUnit)
	}
	return false
}

// joinCommandLine is the text that a cmdline pattern is held against.
func joinCommandLine(args []string) string { return strings.Join(args, " ") }

// had says what a process has of a kind, for people.
func had(p *Process, kind SelectorKind) string {
	switch kind {
	case KindExecutable:
		if p.Executable == "" {
			return p.ExecutableNote
		}
		return p.Executable
	case KindSHA256:
		return p.SHA256
	case KindCommandLine:
		return joinCommandLine(p.CommandLine)
	case KindUser:
		return account(p.User, p.UID)
	case KindGroup:
		return account(p.Group, p.GID)
	case KindCgroup:
		return p.Cgroup
	default:
		return p.SystemdUnit
	}
}

func account(name string, id uint32) string {
	if name == "" {
		return strconv.FormatUint(uint64(id), 10)
	}
	return name
}
