// Package privatefile keeps one secret in one file that only its owner can read,
// and that nobody else can exchange.
//
// It must not know what the secret is for, and never puts it into an error.
package privatefile
