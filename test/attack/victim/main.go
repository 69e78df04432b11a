//go:build linux

// Command victim makes connections at a steady rate, whose source ports come from
// a range that strangers try for too, and one request on each. It says in the end
// what became of them. Told to, it becomes another program while a connection of
// its own is open, or writes what a stranger gave it to a stranger's connection.
//
// It must not know what carries its connections, nor who attacks it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	var v victim
	flag.Func("target", "address to ask; given again, they take turns", func(s string) error {
		v.targets = append(v.targets, s)
		return nil
	})
	flag.StringVar(&v.local, "local", "", "address of the local API, asked at a tenth of the rate")
	flag.IntVar(&v.rate, "rate", 100, "connections a second")
	flag.IntVar(&v.low, "low", 0, "first source port; without one, the kernel chooses from all, and every connection asks")
	flag.IntVar(&v.high, "high", 0, "last source port")
	flag.BoolVar(&v.fastOpen, "fastopen", false, "send every other request with the SYN")
	become := flag.String("become", "", "program that takes this one's place while a connection is open, with the arguments that follow")
	hands := flag.String("hands", "", "Unix socket on which strangers hand over connections")
	flag.Parse()
	if *become != "" {
		fail(turnInto(*become, v.targets[0], flag.Args()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if *hands != "" {
		fail(takeConnections(ctx, *hands))
		return
	}
	fail(json.NewEncoder(os.Stdout).Encode(v.run(ctx)))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// waiting is how many connections may be open at once; while there are so many, no
// more are made.
const waiting = 512

// result is what became of the connections.
type result struct {
	Made      int    `json:"made"`
	Served    int    `json:"served"`    // with the token
	Anonymous int    `json:"anonymous"` // answered, but without it
	Failed    int    `json:"failed"`    // refused, reset or hung
	First     string `json:"first"`     // what failed first
	Tokens    int    `json:"tokens"`    // fetched from the local API
	Denied    int    `json:"denied"`    // or not
	Abandoned int    `json:"abandoned"` // connections left before they were made, or at once

	Slowest      time.Duration `json:"slowest"`       // request
	SlowestToken time.Duration `json:"slowest_token"` // from the local API
}

type victim struct {
	targets         []string
	local           string
	rate, low, high int
	fastOpen        bool

	mu     sync.Mutex
	result result
}

// run makes connections until ctx ends, and waits for what is under way.
func (v *victim) run(ctx context.Context) result {
	ticker := time.NewTicker(time.Second / time.Duration(v.rate))
	defer ticker.Stop()
	places := make(chan struct{}, waiting)
	var all sync.WaitGroup
	fmt.Fprintln(os.Stderr, "running")
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			switch {
			case v.local != "" && n%10 == 9:
				began := time.Now()
				v.countLocal(v.fetch(n), time.Since(began))
			case v.low != 0 && n%10%4 == 2:
				v.abandon(n)
			default:
				began := time.Now()
				served, err := v.ask(n)
				v.count(served, err, time.Since(began))
			}
		})
	}
	all.Wait()
	return v.result
}

func (v *victim) count(served bool, err error, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Made++
	v.result.Slowest = max(v.result.Slowest, took)
	switch {
	case err != nil:
		v.result.Failed++
		v.note(err)
	case served:
		v.result.Served++
	default:
		v.result.Anonymous++
	}
}

func (v *victim) countLocal(err error, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.SlowestToken = max(v.result.SlowestToken, took)
	if err == nil {
		v.result.Tokens++
		return
	}
	v.result.Denied++
	v.note(err)
}

func (v *victim) note(err error) {
	if v.result.First == "" {
		v.result.First = err.Error()
	}
}
