// Package forgery makes tokens that a receiver must refuse: what somebody can make
// who has genuine tokens and the issuer's public keys, but none of its private
// ones, and what only a faulty issuer would sign. It asks receivers over a bare
// connection, so that no client of HTTP tidies up what is sent.
//
// It must not know how any receiver reads a token: it writes every token byte by
// byte, with no library for them.
package forgery
