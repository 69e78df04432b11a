// Package jose reads and writes the compact JWS (RFC 7515) that the authority
// accepts and issues, and that services receive. Claims are read once, from the
// bytes whose signature was verified. The algorithm is fixed by the key, never by
// the message: "none", HMAC, embedded or remote keys (jwk, jku, x5u, x5c) and
// critical extensions are refused before anything is verified.
//
// It must not know what a claim means, where keys are kept, or HTTP. Its errors
// carry no part of a message.
package jose
