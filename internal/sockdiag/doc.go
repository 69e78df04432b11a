// Package sockdiag asks the kernel who has a TCP socket of this network
// namespace, by socket diagnostics (sock_diag(7)), and ends connections. The data path
// uses it to know who serves the far end of a connection that stays on this host;
// listeners, to find and end what a former process left at their address.
//
// It must not know eBPF, nor why anybody wants to know.
package sockdiag
