package workload

// Process is a process image with what could be learned about it. Empty strings
// mean "not known", and never match a selector.
type Process struct {
	Image    Image
	UID, GID uint32 // effective, at connect

	User  string // name of UID, or empty
	Group string // name of GID, or empty

	// Executable is the path of the running file, and counts only where it
	// names that same file for the agent too (a user namespace can mount
	// anything over any path). Otherwise it is empty, and ExecutableNote says
	// what was seen and why it does not count.
	Executable     string
	ExecutableNote string

	SHA256      string // lower-case hex digest of the executable, if it was asked for
	CommandLine []string
	CgroupID    uint64
	Cgroup      string // path below the cgroup2 root, "/" for the root itself
	SystemdUnit string // the system manager's unit, or empty
}
