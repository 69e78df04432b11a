//go:build !linux

package main

// The guest is a Linux program; elsewhere there is nothing to run.
func main() {}
