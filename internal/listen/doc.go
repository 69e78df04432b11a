// Package listen makes the product's TCP listeners. Its promise: while one of them
// listens, no other user has its address, and none had it before.
//
// That does not go without saying. Go sets SO_REUSEADDR on listeners, and Linux lets two
// sockets that both have it be bound to one address until one of them listens, whoever
// they belong to. The other one keeps the address and can connect from it, to the port
// that a client will have. The kernel prefers that connection to the listener, so the
// client's SYN completes a simultaneous open (RFC 9293 §3.5) with a stranger.
//
// On Linux a listener is therefore bound with neither SO_REUSEADDR nor SO_REUSEPORT, next
// to which nothing can be bound. What SO_REUSEADDR is there for, to come back to an
// address at which a former process left connections, is done otherwise, in this order:
//
//   - Those connections are ended by SOCK_DESTROY (sock_diag(7)), if no process has them
//     any more and they have no data to deliver, whoever they belonged to. That takes
//     CAP_NET_ADMIN, CONFIG_INET_DIAG_DESTROY, and a kernel that ends connections in
//     TIME_WAIT too. For a wildcard, the connections of every local address count.
//   - Where that is not to be had, or one of them still delivers what was written before
//     it was closed, which would be lost with it, the listener is bound with SO_REUSEPORT.
//     The kernel then lets it be beside connections in TIME_WAIT and sockets of the same
//     user, all of which need SO_REUSEPORT themselves: accepted connections get it here.
//     Beside one of another user that still delivers it cannot be, and the error says so.
//
// What remains is a process of the same user, in the second case only: one that had the
// address with SO_REUSEPORT before, on kernels whose diagnostics do not show that (before
// 6.8, or without CONFIG_INET_DIAG), or one that binds it with SO_REUSEPORT later. The
// option is taken back once the listener listens, but the kernel's record of the port
// (its bind bucket) keeps for the same user and address what was so at the bind.
//
// Other systems do not share an address between two sockets that only have SO_REUSEADDR;
// there, listeners are Go's.
//
// It must not know who listens, or what is served.
package listen
