// Package e2e runs the real binary as authority and agent, with real clients and a
// protected API, each test in a network namespace, cgroup and BPF file system of
// its own, with a name server whose answers the test decides.
//
// It must not know how the product works inside: it sees commands, configuration,
// answers, logs, metrics and spans, as an operator does.
package e2e
