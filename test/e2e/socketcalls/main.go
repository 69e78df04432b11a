//go:build linux

// Command socketcalls makes every kind of call that a program makes on a TCP socket,
// and prints what it heard: test/e2e runs it with and without the agent, and compares.
//
// It must not know of either.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
)

// Servers, by the last part of their address.
const (
	echo        = 10 // sends back what it gets, until that ends
	otherEcho   = 11
	greets      = 12 // says first from where it is connected to
	resets      = 13 // at the first byte
	closes      = 14 // at once
	witness     = 15 // is asked afterwards how a connection ended
	greetsTwice = 18 // sends what is not read
)

// nobody listens there.
var nobody = 16

const (
	serverPort  = 8080
	witnessPort = 8090 // where it is asked
)

// caller makes the calls of one address family.
type caller struct {
	family  string // 4, 6 or mapped
	port    int    // the next source port to bind to
	results map[string]string
	call    string
}

// heard notes what one step of a call came to.
func (c *caller) heard(step, what string) { c.results[c.call+": "+step] = what }

func main() {
	c := &caller{results: map[string]string{}}
	flag.StringVar(&c.family, "family", "4", "address family: 4, 6 or mapped")
	flag.IntVar(&c.port, "port", 20000, "first source port that may be bound to")
	flag.IntVar(&nobody, "nobody", nobody, "last part of the address where nobody listens")
	only := flag.String("only", "", "one call only")
	flag.Parse()
	for _, one := range calls {
		if *only != "" && one.name != *only {
			continue
		}
		c.call = one.name
		one.make(c)
	}
	if err := json.NewEncoder(os.Stdout).Encode(c.results); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// address is that of a server, or of this host: 1, and 9.
func (c *caller) address(number int) netip.Addr {
	if c.family == "6" {
		return netip.MustParseAddr(fmt.Sprintf("fd98:5::%d", number))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.98.5.%d", number))
}

// nextPort is a port that nobody had yet: one in TIME_WAIT would be in the way.
func (c *caller) nextPort() int {
	c.port++
	return c.port
}
