// Package keyring holds the authority's signing keys: it makes them, seals them
// for the database under a key that is not in it, signs ID tokens, and publishes
// the public halves.
//
// It must not know what is in a token, who asked for it, or HTTP.
package keyring
