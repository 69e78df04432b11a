// Package fairshare divides a fixed number of places among parties that nobody can
// count beforehand, so that one of them never leaves nothing for the next.
//
// A party may take a place as long as it holds fewer than are free: alone it gets
// half of them, and of k parties that take all they can get each has about one part
// in k+1, the last part being free for a newcomer. Switches share their buffers like
// this (Choudhury and Hahne, "Dynamic queue length thresholds", 1998). Where somebody
// can make any number of parties, what they are in is shared in the same way first.
//
// It must not know what a place is, or who the parties are.
package fairshare
