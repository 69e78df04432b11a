// Package bench measures the data path against its limits and its best peers: the
// ladder of arms D, T, R, P, HAProxy and nginx, in pairs, with intervals and gates.
// BenchmarkLadder is run by `make bench`; it prints tables and writes JSON, and
// judges nothing by time: no other test may call it.
//
// It must not know how the product works: it runs the product's own binary as an
// operator would, and counts what a server and the kernel say. Only the arm R, the
// program in relay/, is built from the product's parts.
package bench
