// Command flooder floods addresses with connections until it is told to stop, by
// itself or by programs that make one each, and says what it counted.
//
// It must not know what it floods, nor whom that is to harm.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	var f flooder
	addresses := flag.String("dial", "", "addresses to connect to in turn, separated by commas")
	programs := flag.String("run", "", "programs to have a connection made by, in place of making it; separated by commas")
	once := flag.Bool("once", false, "make one connection and end")
	flag.StringVar(&f.say, "say", "", "what to send on every connection")
	flag.BoolVar(&f.answer, "answer", false, "wait for an answer on every connection")
	flag.IntVar(&f.keep, "keep", 0, "how many connections to keep open: without, each is reset at once")
	flag.IntVar(&f.workers, "workers", 2, "how many connections to make at once, of one program each one")
	flag.IntVar(&f.times, "times", 0, "how many each of the workers makes; without, as many as there is time for")
	flag.BoolVar(&f.touch, "touch", false, "change a program's file before it runs again")
	flag.Parse()
	f.addresses = strings.Split(*addresses, ",")
	if *programs != "" {
		f.programs = strings.Split(*programs, ",")
	}
	if err := run(&f, *once); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(f *flooder, once bool) error {
	if once {
		return f.connect(0)
	}
	return json.NewEncoder(os.Stdout).Encode(f.flood())
}
