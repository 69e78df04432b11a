// Package token holds bearer tokens, keeps them warm and renews them before they
// expire. One sub-package per source knows where a kind of token comes from.
//
// It must not know processes, the kernel or HTTP requests to be injected: it
// answers (identity, subject, audience) with a token or an error.
package token
