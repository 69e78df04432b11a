// Package lab gives a test pieces of a host of its own: a cgroup, a network
// namespace, a bpffs mount, a name server, a private view of some files, and the
// means to run a program among them. Each piece is removed when the test ends,
// and its removal is checked.
//
// It must not know the product: no package of it is imported here, so that the
// kernel tests of every package can use the lab.
package lab
