// Package authority is the identity authority: it enrols workloads by ticket,
// signs their ID tokens, and lets administrators declare who may have them. It
// serves the operator protocol and the admin API over HTTP.
//
// It must not know the host agent: no processes, no eBPF, no injector. It trusts
// its own configuration for its name, never a request's Host.
package authority
