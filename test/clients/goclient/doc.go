// Command goclient makes one request with net/http and prints the answer.
//
// It must not know what for.
package main
