//go:build linux

package attribution

import "github.com/lanyardhq/lanyard/internal/workload"

// Facts is a set of facts that cost something to find out.
type Facts struct {
	SHA256      bool // of the executable
	CommandLine bool
}

// within reports whether every fact of f is among g's.
func (f Facts) within(g Facts) bool {
	return (!f.SHA256 || g.SHA256) && (!f.CommandLine || g.CommandLine)
}

// Interest tells which facts can still decide who a process is. It is asked with
// everything else of the process known, and with those facts that were read
// already: what they hold is final, and unknown if it is empty. It is called by
// several goroutines.
//
// So a digest is only made of programs of which an identity could depend on it,
// and nobody else can have large files read.
type Interest func(p *workload.Process, read Facts) Facts

// Always is interested in the same facts of every process.
func Always(f Facts) Interest {
	return func(*workload.Process, Facts) Facts { return f }
}

// reading is what was read of a process.
type reading struct {
	process *workload.Process
	facts   Facts     // were read
	under   *Interest // was satisfied with them
}

// satisfies reports whether nothing that is of interest is missing.
func (r *reading) satisfies(i *Interest) bool {
	return r.under == i || (*i)(r.process, r.facts).within(r.facts)
}
