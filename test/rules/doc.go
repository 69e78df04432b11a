// Package rules holds the rules of the tree itself: which package may import
// which, what stands at the top, how packages are named and documented. Each rule
// names its reason, so that whoever meets it can judge whether it still holds.
//
// It must not know what the product does: it reads files.
package rules
