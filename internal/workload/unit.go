package workload

import "strings"

// unitSuffixes are the kinds of systemd unit that have a cgroup of their own and
// hold processes. Slices only hold other units.
var unitSuffixes = [...]string{".service", ".scope", ".socket", ".mount", ".swap"}

// SystemdUnit returns the unit of the system manager that a cgroup path belongs
// to, or "". It is the first component that is no slice, if all before it are
// slices and it is named like a unit. A unit of a user's own manager is none:
// that user names it as he likes, and everything in and below user@.service is
// his.
func SystemdUnit(cgroup string) string {
	for name := range strings.SplitSeq(strings.TrimPrefix(cgroup, "/"), "/") {
		// systemd puts an underscore before names that the kernel could want.
		name = strings.TrimPrefix(name, "_")
		if strings.HasSuffix(name, ".slice") {
			continue
		}
		if strings.HasPrefix(name, "user@") && strings.HasSuffix(name, ".service") {
			return ""
		}
		if hasUnitSuffix(name) {
			return name
		}
		return ""
	}
	return ""
}

func hasUnitSuffix(name string) bool {
	for _, suffix := range unitSuffixes {
		if strings.HasSuffix(name, suffix) && len(name) > len(suffix) {
			return true
		}
	}
	return false
}

// couldHoldUnit reports whether the cgroup at a path, or one below it, belongs to
// a unit that the pattern matches.
func couldHoldUnit(cgroup string, unit glob) bool {
	if name := SystemdUnit(cgroup); name != "" {
		return unit.match(name)
	}
	for name := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		if name != "" && !strings.HasSuffix(name, ".slice") {
			return false
		}
	}
	return true // slices only: any unit may be below
}

// couldBeUnit reports whether the pattern's end leaves room for a unit's suffix.
func couldBeUnit(g glob) bool {
	tail := g.tail()
	if text, ok := g.literal(); ok {
		return hasUnitSuffix(text)
	}
	for _, suffix := range unitSuffixes {
		if strings.HasSuffix(tail, suffix) || strings.HasSuffix(suffix, tail) {
			return true
		}
	}
	return false
}
