//go:build linux

package agent

import (
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// interestOf returns which facts that cost something the identities of these
// policies want to know of a process: those of an identity that the process can
// still have by everything that is known of it. So nobody has a program hashed
// that could not be an identity's anyway.
func interestOf(policies ...*registry.Policy) attribution.Interest {
	var selectors []workload.Selector
	for _, policy := range policies {
		for _, identity := range policy.Identities() {
			s := identity.Selector
			if s.Needs(workload.KindSHA256) || s.Needs(workload.KindCommandLine) {
				selectors = append(selectors, s)
			}
		}
	}
	return func(p *workload.Process, read attribution.Facts) (wanted attribution.Facts) {
		for _, s := range selectors {
			if couldMatch(s, p, read) {
				wanted.SHA256 = wanted.SHA256 || s.Needs(workload.KindSHA256)
				wanted.CommandLine = wanted.CommandLine || s.Needs(workload.KindCommandLine)
			}
		}
		return wanted
	}
}

// couldMatch reports whether a selector matches the process, whatever the facts
// are that were not read.
func couldMatch(s workload.Selector, p *workload.Process, read attribution.Facts) bool {
	for _, m := range s.Mismatches(p) {
		switch {
		case m.Kind == workload.KindSHA256 && !read.SHA256:
		case m.Kind == workload.KindCommandLine && !read.CommandLine:
		default:
			return false
		}
	}
	return true
}
