// Package resource is the wire form of the admin API: what an administrator
// declares (kind, name, spec) with what the authority says of it (status).
//
// It must not know who serves or who asks; the authority and its client share it.
package resource
