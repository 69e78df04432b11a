package workload

import "net/netip"

// Condition is the part of a selector that a connect hook can check itself. A
// caller that fails one condition of every identity is a bystander, and its
// connections go straight on; all others are candidates, which user space looks
// at. A nil field is no condition; a Condition without any makes every caller a
// candidate.
type Condition struct {
	// ExecutableNames are the base names the running file may have.
	ExecutableNames []string
	// UIDs are the effective user ids the caller may have.
	UIDs []uint32
	// Cgroup reports whether a process in the cgroup at this path, below the
	// cgroup2 root, can match. The path "/" is the root itself.
	Cgroup func(path string) bool
}

// IsZero reports whether nothing of the selector can be checked in the kernel.
func (c Condition) IsZero() bool {
	return c.ExecutableNames == nil && c.UIDs == nil && c.Cgroup == nil
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
