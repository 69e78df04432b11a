// Package certificates makes what tests serve TLS with.
//
// It must not know who serves, or who trusts.
package certificates
