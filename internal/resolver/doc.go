// Package resolver knows which addresses belong to which names, as this host's
// own resolver sees it, and decides with that whether a plaintext connection
// really leads to the destination whose name the request gives.
//
// It must not know connections or tokens, nor of who asks more than a name, by which
// look-ups share what may be under way at once. It never takes a client's word, a
// container's resolv.conf or a container's hosts file for a name.
//
// An answer is remembered for ten minutes, because names with several addresses
// answer with some of them at a time, and because clients keep connections. All
// memory is bounded, and so are how often a name is looked up, and how many look-ups
// wait. Names of destinations, which are kept, never wait for others.
package resolver
