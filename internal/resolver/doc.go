// Package resolver knows which addresses belong to which names, as this host's
// own resolver sees it, and decides with that whether a plaintext connection
// really leads to the destination whose name the request gives.
//
// It must not know connections, tokens or who asks, and never takes a client's
// word, a container's resolv.conf or a container's hosts file for a name.
//
// An answer is remembered for ten minutes, because names with several addresses
// answer with some of them at a time, and because clients keep connections. All
// memory is bounded, and so is how often a name is looked up.
package resolver
