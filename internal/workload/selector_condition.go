package workload

import "slices"

// Condition returns the part of the selector that a connect hook can check, for
// the identity of this name. It never excludes a process that the selector matches.
func (s Selector) Condition(identity string) Condition {
	c := Condition{Identity: identity, Selector: s.String()}
	if exe := s.condition(KindExecutable); exe != nil {
		c.ExecutableNames = exe.baseNames()
	}
	c.UIDs, c.GIDs = s.ids(KindUser), s.ids(KindGroup)
	var where Selector
	for _, condition := range s.conditions {
		if condition.kind == KindCgroup || condition.kind == KindSystemdUnit {
			where.conditions = append(where.conditions, condition)
		}
	}
	if len(where.conditions) > 0 {
		c.Cgroup = func(path string) bool {
			return where.Match(&Process{Cgroup: path, SystemdUnit: SystemdUnit(path)})
		}
	}
	if !s.Needs(KindCommandLine) { // which a process can change
		c.Certain = s.certainty()
	}
	return c
}

// certainty collects what is written out: a pattern is user space's to judge, and
// so is a condition of which there are two kinds.
func (s Selector) certainty() *Certainty {
	exe, digest := s.condition(KindExecutable), s.condition(KindSHA256)
	unit, cgroup := s.condition(KindSystemdUnit), s.condition(KindCgroup)
	c := &Certainty{File: exe != nil || digest != nil}
	if exe != nil && digest == nil {
		c.Files = exe.literals(func(v value) (string, bool) { return v.path.literal() })
	}
	if unit != nil && cgroup == nil {
		c.Units = unit.literals(func(v value) (string, bool) { return v.glob.literal() })
		c.UnitsOnly = len(c.Units) == len(unit.values)
	}
	if cgroup != nil && unit == nil {
		c.Cgroups = cgroup.literals(func(v value) (string, bool) {
			if IsGlob(v.text) {
				return "", false
			}
			return v.text, true
		})
	}
	return c
}

// literals returns the values that stand for one text.
func (c *condition) literals(text func(value) (string, bool)) []string {
	var texts []string
	for _, v := range c.values {
		if t, ok := text(v); ok {
			texts = append(texts, t)
		}
	}
	return texts
}

// ids returns the numbers of a kind, nil if the selector does not name it.
func (s Selector) ids(kind SelectorKind) []uint32 {
	c := s.condition(kind)
	if c == nil {
		return nil
	}
	ids := make([]uint32, len(c.values))
	for i, v := range c.values {
		ids[i] = v.id
	}
	return ids
}

// baseNames returns the names that the running file may have, nil if any of the
// patterns leaves the name open.
func (c *condition) baseNames() []string {
	var names []string
	for _, v := range c.values {
		name, ok := v.path.base()
		if !ok {
			return nil
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
