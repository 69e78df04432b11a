// Package standing knows which identities have tokens, which have none and why, and
// says so once in the log when that changes.
//
// It must not know how tokens are obtained, or who asks for its answers.
package standing
