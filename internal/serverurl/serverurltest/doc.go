// Package serverurltest answers HTTP clients in ways that they did not ask for.
//
// It is for tests only. It must not know whose client that is.
package serverurltest
