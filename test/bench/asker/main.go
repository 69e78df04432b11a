// Command asker is the load of the issuing benchmark: some clients that ask for
// tokens, each for one after the other, and count them. What it costs itself is not
// counted.
//
// It prints "begin" when it has warmed up and "end N" after the time it was given,
// where N exchanges ended in between. The first exchange that fails, or that returns
// what another one returned already, ends it with status 1. It must not know who
// answers, beyond the protocol that is asked for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// exchange asks once. What it returns must be another word each time; "" is exempt.
type exchange func(context.Context) (string, error)

// options are the flags.
type options struct {
	protocol, url, audience string
	ticketFile              string
	clientID, keyFile       string
	secretFile              string
	clients                 int
	warmUp, length          time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.protocol, "protocol", "", "operator, private_key_jwt, client_secret_basic or get")
	flag.StringVar(&o.url, "url", "", "operator base, token endpoint, or what to get")
	flag.StringVar(&o.audience, "audience", "", "audience of client assertions")
	flag.StringVar(&o.ticketFile, "ticket-file", "", "ticket to enrol workloads with")
	flag.StringVar(&o.clientID, "client-id", "", "OAuth client")
	flag.StringVar(&o.keyFile, "key-file", "", "its private key, PKCS #8 in PEM")
	flag.StringVar(&o.secretFile, "secret-file", "", "its secret")
	flag.IntVar(&o.clients, "clients", 1, "clients that ask at once, each over a connection")
	flag.DurationVar(&o.warmUp, "warm-up", time.Second, "time before the count begins")
	flag.DurationVar(&o.length, "length", 5*time.Second, "time that is counted")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	exchanges, err := o.exchanges()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	var count atomic.Uint64
	var seen sync.Map
	for _, ask := range exchanges {
		group.Go(func() error { return repeat(ctx, ask, &count, &seen) })
	}
	group.Go(func() error {
		defer cancel()
		return report(ctx, o, &count)
	})
	return group.Wait()
}

// repeat asks until ctx ends.
func repeat(ctx context.Context, ask exchange, count *atomic.Uint64, seen *sync.Map) error {
	for ctx.Err() == nil {
		word, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // cut off at the end
		case err != nil:
			return err
		}
		if _, twice := seen.LoadOrStore(word, true); twice && word != "" {
			return errors.New("one token was issued twice")
		}
		count.Add(1)
	}
	return nil
}

// report passes the time: here it is what is measured, not a condition to wait for.
func report(ctx context.Context, o options, count *atomic.Uint64) error {
	if err := pass(ctx, o.warmUp); err != nil {
		return err
	}
	before := count.Load()
	fmt.Println("begin")
	if err := pass(ctx, o.length); err != nil {
		return err
	}
	fmt.Println("end", count.Load()-before)
	return nil
}

func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exchanges makes what each client does.
func (o options) exchanges() (all []exchange, err error) {
	make := map[string]func(int) (exchange, error){
		"operator":            o.operator,
		"private_key_jwt":     o.assertion,
		"client_secret_basic": o.secret,
		"get":                 o.get,
	}[o.protocol]
	if make == nil {
		return nil, fmt.Errorf("there is no protocol %q", o.protocol)
	}
	for i := range o.clients {
		ask, err := make(i)
		if err != nil {
			return nil, err
		}
		all = append(all, ask)
	}
	return all, nil
}
