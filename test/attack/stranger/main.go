//go:build linux

// Command stranger tries to get another program's token onto its own requests, or
// to read what was answered to them. Each of its requests has a path below
// /attack/, so that the server which gets it with a token knows that one crossed.
// It has no right that any local user has not.
//
// It must not know the product beyond what every local user can find out: what
// listens on loopback, and how the local API is called.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	var s stranger
	flag.StringVar(&s.kind, "attack", "", "which attack")
	flag.IntVar(&s.tries, "tries", 1, "how often")
	flag.IntVar(&s.rate, "rate", 2000, "tries a second, at most")
	flag.IntVar(&s.workers, "workers", 24, "tries at once")
	flag.IntVar(&s.low, "low", 0, "first source port")
	flag.IntVar(&s.high, "high", 0, "last source port")
	flag.BoolVar(&s.hooked, "hooked", false, "whether the hooks see this program, which then is to be redirected as well")
	flag.Func("injector", "address of the injector; given again, they take turns", addressInto(&s.injector))
	flag.Func("target", "address of the protected server, likewise", addressInto(&s.targets))
	flag.Func("local", "address of the local API, likewise", addressInto(&s.local))
	flag.StringVar(&s.hands, "hands", "", "Unix socket of a program that takes connections over")
	inherited := flag.Bool("inherited", false, "go on with the connection that is descriptor 3")
	flag.Parse()
	if s.kind == "before" {
		s.before()
		return
	}
	if *inherited {
		s.goOn()
	} else if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"tries": s.done.Load(), "busy": s.busy.Load(), "refused": s.refused.Load(),
		"answers": s.answers.Load(), "read": s.read.Load(),
	})
}

type stranger struct {
	kind                     string
	tries, rate, workers     int
	low, high                int
	hooked                   bool
	injector, targets, local []address
	hands                    string
	next                     atomic.Int64
	done, busy, refused      atomic.Int64
	answers                  atomic.Int64
	read                     atomic.Int64 // answers that are another's, or show another's token
}

// run makes all tries, at no more than the rate.
func (s *stranger) run() error {
	attack, found := attacks[s.kind]
	if !found {
		return fmt.Errorf("no attack is named %q", s.kind)
	}
	began := time.Now()
	var all sync.WaitGroup
	for range s.workers {
		all.Go(func() {
			held := ring{stranger: s}
			defer held.empty()
			for n := s.next.Add(1); n <= int64(s.tries); n = s.next.Add(1) {
				time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(s.rate))))
				attack(s, int(n), &held)
				s.done.Add(1)
			}
		})
	}
	all.Wait()
	return nil
}
