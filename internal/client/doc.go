// Package client is the client mode: one workload of the operator, enrolled from a
// folder of its own, its ID token kept ready, and the local API to fetch it from.
// It needs no eBPF and no root, and runs on every system.
//
// It must not know processes: a caller of the local API has the key, or nothing.
package client
