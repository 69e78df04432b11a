package workload

import (
	"cmp"
	"slices"
)

// Specificity says how closely a selector describes a process that it matches.
// Specificities are totally ordered by Compare:
//
//   - the selector that names more kinds of condition is the more specific;
//   - among those that name equally many, the kinds are compared one after the
//     other, in the order of SelectorKinds: naming the kind beats not naming it,
//     and of two patterns the one that fixes more of the text wins. A literal
//     character counts more than one of a class, that more than ?, and * counts
//     nothing. Of several values of a kind the closest that matched decides.
//
// So a selector that was narrowed is never less specific than it was. Equal is a
// tie.
type Specificity struct {
	kinds   int
	weights [7]int // one for each kind, in the order of SelectorKinds
}

// Compare returns -1, 0 or 1 if s is less specific than t, equally specific or
// more specific.
func (s Specificity) Compare(t Specificity) int {
	return cmp.Or(cmp.Compare(s.kinds, t.kinds), slices.Compare(s.weights[:], t.weights[:]))
}

// Specificity returns how closely the selector describes the process, and false
// if it does not match it.
func (s Selector) Specificity(p *Process) (Specificity, bool) {
	var sum Specificity
	for i := range s.conditions {
		c := &s.conditions[i]
		weight, ok := c.best(p)
		if !ok {
			return Specificity{}, false
		}
		sum.kinds++
		// One more than the value's own weight: a pattern that fixes nothing
		// still beats a kind that is not named.
		sum.weights[c.place] = weight + 1
	}
	return sum, sum.kinds > 0
}
