package workload

import "net/netip"

// Condition is the part of a selector that a connect hook can check itself. A
// caller that fails one condition of every identity is a bystander, and its
// connections go straight on; all others are candidates, which user space looks
// at. A nil field is no condition; a Condition without any makes every caller a
// candidate.
//
// What Certain says besides lets the hook tell, while nobody can look, whether a
// caller has the identity. It may know less than user space, but never says yes
// where user space would say no.
type Condition struct {
	Identity string // its name
	Selector string // everything that it asks, as it was configured
	// ExecutableNames are the base names the running file may have.
	ExecutableNames []string
	// UIDs and GIDs are the effective ids the caller may have.
	UIDs, GIDs []uint32
	// Cgroup reports whether a process in the cgroup at this path, below the
	// cgroup2 root, can match. The path "/" is the root itself.
	Cgroup func(path string) bool
	// Certain says how the hook can be sure; nil if it never can.
	Certain *Certainty
}

// Certainty is what makes a Condition decidable in the kernel. Where File or the
// Condition's Cgroup is set and nothing here fulfils it, only what user space
// found out does.
type Certainty struct {
	// File: the identity asks something of the running file.
	File bool
	// Files are paths whose files fulfil that.
	Files []string
	// Units are names of units whose members fulfil Cgroup; with UnitsOnly nobody
	// else does.
	Units     []string
	UnitsOnly bool
	// Cgroups are paths of cgroups that fulfil it, with all below them.
	Cgroups []string
}

// IsZero reports whether nothing of the selector can be checked in the kernel.
func (c Condition) IsZero() bool {
	return c.ExecutableNames == nil && c.UIDs == nil && c.GIDs == nil && c.Cgroup == nil
}

// WatchedPort is a destination port whose connections go to the injector.
type WatchedPort struct {
	Port     uint16
	Prefixes []netip.Prefix // only these addresses; nil means every address
}

// Watch is what the kernel needs to know of a configuration.
type Watch struct {
	Ports      []WatchedPort // each port once
	Conditions []Condition   // one for each identity
}
