// Package demo tells the product's whole story on one machine: a plain program is
// refused by a protected API, and the same program, unchanged, is let in once its
// identity is registered. It holds the protected API too, a small server that
// checks bearer tokens by the authority's published keys.
//
// It must not know how the agent or the authority work inside: it runs the same
// commands that a reader would type and looks at what they answer.
package demo
