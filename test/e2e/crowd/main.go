// Command crowd makes many short connections to an HTTP server, or is that server.
// Each side counts what it sees: the client answers, broken connections and hangs,
// the server requests with and without a token, by the first element of the path.
//
// It must not know who carries its connections: that is what is tested.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	serve := flag.String("serve", "", "address to serve on, in place of making connections")
	var c client
	flag.StringVar(&c.address, "dial", "", "address to connect to")
	flag.StringVar(&c.host, "host", "", "host to ask for")
	flag.StringVar(&c.group, "group", "", "first element of every path")
	flag.BoolVar(&c.token, "token", false, "whether the server has to see a token")
	flag.IntVar(&c.connections, "connections", 0, "how many connections to make; without, as many as there is time for")
	flag.IntVar(&c.requests, "requests", 1, "how many requests to make on each")
	flag.IntVar(&c.workers, "workers", 8, "how many connections to have at once")
	every := flag.Duration("every", 0, "make one request after each such time, and print what became of it, in place of counting")
	stream := flag.Bool("stream", false, "ask for a response that does not end, and hold it until told to stop, in place of counting")
	flag.Parse()
	if *stream {
		if err := c.hold(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(*serve, *every, &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address string, every time.Duration, c *client) error {
	if address != "" {
		return newServer().serve(address)
	}
	if every > 0 {
		return c.runPaced(every)
	}
	return json.NewEncoder(os.Stdout).Encode(c.run())
}
