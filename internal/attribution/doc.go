// Package attribution turns what the kernel recorded about a connection into a
// workload.Process: executable and digest, command line, user, cgroup, systemd
// unit. It trusts /proc only between two looks at the kernel's own record of
// which image runs, and never a path that the process itself could have made up.
//
// It must not know identities, tokens or requests, nor how the kernel is
// observed: whether an image still runs is asked through Liveness.
package attribution
