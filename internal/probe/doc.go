// Package probe is the agent's side of the kernel: it loads, pins and attaches
// the eBPF programs of package bpf, tells them what to watch, and reads what they
// saw. It works on Linux only.
//
// It must not know what an identity is, who may go where, or what is done with a
// connection: it is told conditions and addresses, and answers with flows.
//
// Life of the kernel half. Open loads it below a pin folder, which survives a
// killed agent: hooks stay attached, and refuse or pass connections by the fail
// policy. The next Open takes the pinned maps and links over. Close, the clean
// stop, removes everything.
package probe
