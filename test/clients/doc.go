// Package clients drives real HTTP clients, the programs that people use, at one
// URL, and says whether each got the answer it asked for.
//
// It must not know tokens or the product: a client is a command line, and its
// answer is text.
package clients
