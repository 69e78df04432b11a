// Package httpserve serves HTTP on a listener: with bounds on time, size and connections, with a
// certificate that may be replaced meanwhile, and to an end that requests survive.
//
// It must not know what it serves, or how a setting is called.
package httpserve
