// Package attribution turns what the kernel recorded about a connection into a
// workload.Process: executable and digest, command line, user, cgroup, systemd
// unit. It trusts /proc only between two looks at the kernel's own record of
// which image runs, and never a path that the process itself could have made up.
//
// What it looks at belongs to strangers: a file system may never answer, a file may
// be of any size, processes may be any number. So all work is charged to a party,
// which uses up only its own share of readings, of bytes hashed and of memory.
//
// It must not know identities, tokens or requests, nor how the kernel is
// observed: whether an image still runs is asked through Liveness.
package attribution
