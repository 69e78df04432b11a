// Package keyring holds the authority's signing keys: it makes them, seals them
// for the database under a key that is not in it, signs ID tokens, publishes the
// public halves, and replaces the keys in time.
//
// A key is next, then active, then retired, then gone:
//
//	         PublishAhead, or a revocation     Period, or a command
//	next ───────────────────────────────► active ───────────────────► retired ──► gone
//	  │                                      │                           │    MaxTokenLife
//	  └──────────────────────────────────────┴───────────────────────────┴──► revoked ──► gone
//
// There is always one active and one next key. The next one is published from the
// start, so that by the time it signs every verifier has it. A key that signs no
// more loses its private part.
//
// With the same key it seals the contents of secrets.
//
// It must not know what is in a token, who asked for it, or HTTP.
package keyring
