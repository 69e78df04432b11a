package workload

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// SelectorSpec is a selector as somebody wrote it. A nil list does not name the
// kind; an empty list that is not nil is an error.
type SelectorSpec struct {
	Executables  []string
	SHA256       []string
	CommandLines []string
	Users        []string // names, or numbers
	Groups       []string // names, or numbers
	Cgroups      []string
	SystemdUnits []string
	// AnyUser says that it is meant if nothing says who runs the program.
	AnyUser bool
}

func (s *SelectorSpec) texts(kind SelectorKind) []string {
	switch kind {
	case KindExecutable:
		return s.Executables
	case KindSHA256:
		return s.SHA256
	case KindCommandLine:
		return s.CommandLines
	case KindUser:
		return s.Users
	case KindGroup:
		return s.Groups
	case KindCgroup:
		return s.Cgroups
	default:
		return s.SystemdUnits
	}
}

// Accounts finds the numbers of this host's users and groups.
type Accounts interface {
	UserID(name string) (uint32, error)
	GroupID(name string) (uint32, error)
}

// SelectorError says why one value, one kind or a whole selector cannot be.
type SelectorError struct {
	Kind   SelectorKind // "" for the whole selector
	Index  int          // of the value within its kind, -1 for the kind itself
	Reason string       // what is wrong and what to write instead
}

// Error names the kind, what is wrong and what to write instead.
func (e *SelectorError) Error() string {
	if e.Kind == "" {
		return e.Reason
	}
	return string(e.Kind) + ": " + e.Reason
}

// SelectorErrors is everything that is wrong with one selector.
type SelectorErrors []*SelectorError

// Error joins what is wrong.
func (e SelectorErrors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return "make selector: " + strings.Join(texts, "; ")
}

// NewSelector makes a selector that some process can match, or returns
// SelectorErrors with everything that stands against it.
func NewSelector(spec SelectorSpec, accounts Accounts) (Selector, error) {
	var s Selector
	var wrong SelectorErrors
	for place, kind := range SelectorKinds() {
		texts := spec.texts(kind)
		if texts == nil {
			continue
		}
		c, errs := newCondition(kind, texts, accounts)
		c.place = place
		s.conditions = append(s.conditions, c)
		wrong = append(wrong, errs...)
	}
	if len(wrong) == 0 {
		wrong = s.contradictions(spec.AnyUser)
	}
	if len(wrong) > 0 {
		return Selector{}, wrong
	}
	return s, nil
}

func newCondition(kind SelectorKind, texts []string, accounts Accounts) (condition, SelectorErrors) {
	c := condition{kind: kind}
	var wrong SelectorErrors
	if len(texts) == 0 {
		return c, SelectorErrors{{Kind: kind, Index: -1, Reason: "can never match: the list is empty; name a value, or leave the key out"}}
	}
	seen := make(map[string]bool, len(texts))
	for i, text := range texts {
		v, err := newValue(kind, text, accounts)
		switch {
		case err != nil:
			wrong = append(wrong, &SelectorError{Kind: kind, Index: i, Reason: fmt.Sprintf("%q can never match: %v", text, err)})
		case seen[text]:
			wrong = append(wrong, &SelectorError{Kind: kind, Index: i, Reason: fmt.Sprintf("%q is listed twice; leave one out", text)})
		}
		seen[text] = true
		c.values = append(c.values, v)
	}
	return c, wrong
}

func newValue(kind SelectorKind, text string, accounts Accounts) (value, error) {
	v := value{text: text, weight: weightLiteral}
	switch {
	case text == "":
		return v, errors.New("it is empty; write a value, or leave the key out")
	case len(text) > maxPattern:
		return v, fmt.Errorf("it is longer than %d bytes; shorten it with *", maxPattern)
	case strings.ContainsRune(text, 0):
		return v, errors.New("it holds a zero byte, which no process has; leave that out")
	}
	var err error
	switch kind {
	case KindExecutable:
		v.path, err = parseExecutable(text)
		v.weight = v.path.weight
	case KindSHA256:
		v.digest, err = parseDigest(text)
	case KindCommandLine:
		v.glob, err = parseGlob(text)
		v.weight = v.glob.weight()
	case KindUser:
		v.id, err = parseAccount(text, "user", accounts.UserID)
	case KindGroup:
		v.id, err = parseAccount(text, "group", accounts.GroupID)
	case KindCgroup:
		v.path, err = parsePathGlob(text)
		v.weight = v.path.weight
		v.path = v.path.below()
	case KindSystemdUnit:
		v.glob, err = parseUnit(text)
		v.weight = v.glob.weight()
	}
	return v, err
}

func parseExecutable(text string) (pathGlob, error) {
	if strings.HasSuffix(text, " (deleted)") {
		return pathGlob{}, errors.New("a file that was deleted or replaced is matched by the path it had; leave \" (deleted)\" out")
	}
	p, err := parsePathGlob(text)
	if err == nil && len(p.components) == 0 {
		err = errors.New("it is a folder; name the program")
	}
	return p, err
}

func parseDigest(text string) (string, error) {
	digest := strings.ToLower(text)
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
		return "", errors.New("a SHA-256 digest is 64 hexadecimal digits, as sha256sum prints it")
	}
	return digest, nil
}

// parseAccount accepts a name or a number. All digits is always a number, as it
// is for systemd and chown.
func parseAccount(text, what string, lookup func(string) (uint32, error)) (uint32, error) {
	if strings.Trim(text, "0123456789") == "" {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id == math.MaxUint32 {
			return 0, fmt.Errorf("no %s has this number; %d is the highest", what, uint32(math.MaxUint32-1))
		}
		return uint32(id), nil
	}
	if IsGlob(text) {
		return 0, fmt.Errorf("a %s is a name or a number, not a pattern; list the names", what)
	}
	id, err := lookup(text)
	if err != nil {
		return 0, fmt.Errorf("%w; create the %s, or write its number", err, what)
	}
	return id, nil
}

func parseUnit(text string) (glob, error) {
	if strings.Contains(text, "/") {
		return nil, errors.New("a unit's name has no slash; use cgroup for a path")
	}
	g, err := parseGlob(text)
	if err != nil {
		return nil, err
	}
	name, literal := g.literal()
	switch {
	case literal && SystemdUnit("/"+name) == "" && strings.HasPrefix(name, "user@"):
		return nil, errors.New("what runs below a user's own manager names itself, and is no unit of the system; use user")
	case strings.HasSuffix(g.tail(), ".slice"):
		return nil, fmt.Errorf("a slice holds no processes of its own; use cgroup, as in cgroup: /%s", text)
	case !couldBeUnit(g):
		return nil, fmt.Errorf("no unit with processes ends like this; write %s.service, or one of %s", text, strings.Join(unitSuffixes[1:], " "))
	}
	return g, nil
}

// contradictions returns what is wrong with valid conditions taken together.
func (s Selector) contradictions(anyUser bool) SelectorErrors {
	if len(s.conditions) == 0 {
		return SelectorErrors{{Index: -1, Reason: "names no condition; write at least exe and user"}}
	}
	var wrong SelectorErrors
	if anyUser && s.Needs(KindUser) {
		wrong = append(wrong, &SelectorError{Kind: KindUser, Index: -1, Reason: "contradicts any_user: true; leave one of them out"})
	}
	if !anyUser && !s.fixesWho() {
		wrong = append(wrong, &SelectorError{Index: -1, Reason: "nothing says who runs the program, so that any user of this host could run it with a library of his own preloaded; " +
			"add user, systemd_unit or cgroup (one that does not hold every process), or say any_user: true"})
	}
	cgroup, unit := s.condition(KindCgroup), s.condition(KindSystemdUnit)
	if cgroup != nil && unit != nil && !couldMeet(cgroup, unit) {
		wrong = append(wrong, &SelectorError{Kind: KindCgroup, Index: -1, Reason: "contradicts systemd_unit, so that both can never match: no such unit is in or below such a cgroup; leave one of them out"})
	}
	return wrong
}

// fixesWho reports whether a condition tells users of this host apart. A pattern
// without one fixed character matches everything and tells nobody apart.
func (s Selector) fixesWho() bool {
	if s.Needs(KindUser) {
		return true
	}
	return s.condition(KindCgroup).allFix(func(v *value) bool { return v.path.hasLiteral() }) ||
		s.condition(KindSystemdUnit).allFix(func(v *value) bool { return v.glob.hasLiteral() })
}

func (c *condition) allFix(fixed func(*value) bool) bool {
	if c == nil {
		return false
	}
	for i := range c.values {
		if !fixed(&c.values[i]) {
			return false
		}
	}
	return true
}

// couldMeet reports whether some cgroup can meet both conditions. Where a cgroup
// is a pattern it is taken to be able to.
func couldMeet(cgroup, unit *condition) bool {
	for _, where := range cgroup.values {
		literal := where.path
		literal.components = literal.components[:len(literal.components)-1] // without what below added
		path, ok := literal.literal()
		for _, name := range unit.values {
			if !ok || couldHoldUnit(path, name.glob) {
				return true
			}
		}
	}
	return false
}
