// Package registry holds what an administrator registered, identities and
// destinations, compiled into an immutable Policy: which process has which
// identity, which request goes to which destination, and what the kernel has to
// watch for it.
//
// It must not know where the resources were written down (a file, an authority),
// how facts about a process are obtained, or what a token is. Its errors name a
// resource by its path, such as destinations[1].hosts[0], and whoever read the
// resources adds the place.
package registry
