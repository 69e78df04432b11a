// Package freeport finds ports on loopback for another process to listen on.
//
// It must not know who that is.
package freeport
