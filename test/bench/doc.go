// Package bench measures the data path and the authority against their limits and
// their best peers, in pairs, with intervals and gates: BenchmarkLadder the arms D,
// T, R, P, HAProxy and nginx; BenchmarkIssuing what tokens and keys cost who gives
// them out. Both are run by `make bench`; they print tables and write JSON, and judge
// nothing by time: no other test may call them.
//
// It must not know how the product works: it runs the product's own binary as an
// operator would, and counts what a server and the kernel say. Only the arms R (the
// program in relay/) and I, J, V (issuer/) are built from the product's parts.
package bench
