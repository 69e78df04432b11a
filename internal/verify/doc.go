// Package verify is the receiving side: it checks ID tokens by the keys that their
// issuer publishes (JWKS), for a service in Go, for a command line, and for a
// reverse proxy that asks before it forwards a request.
//
// It must not know who issues tokens or how: it sees a URL, a set of keys and a
// token, as any other verifier does. Its errors repeat nothing of a token.
package verify
