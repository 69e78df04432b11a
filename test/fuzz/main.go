// Command fuzz runs every fuzz target of the tree for a while, one after another,
// and prints a line for each: how many inputs it tried and how many of them
// reached code that none had reached before. What makes a target fail, go leaves
// in testdata/fuzz beside it, and the command says how to run it again; committed,
// it is a test from then on.
//
// It finds the targets by itself, so that a new one cannot be forgotten, and
// builds each package once, with coverage instrumentation.
//
// It must not know what is fuzzed. Its arguments are patterns of packages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"
)

// options say what is run, and for how long.
type options struct {
	total    time.Duration // for all targets together, where each is zero
	each     time.Duration
	only     *regexp.Regexp // names of targets
	parallel int            // inputs at a time; 0 is as many as there are processors
	patterns []string
}

func main() {
	var o options
	flag.DurationVar(&o.total, "total", 10*time.Minute, "time for all targets together")
	flag.DurationVar(&o.each, "each", 0, "time for each target, instead of -total")
	flag.IntVar(&o.parallel, "parallel", 0, "inputs tried at a time; 0 is one for each processor")
	only := flag.String("only", "", "regular expression for the names of targets")
	flag.Parse()
	o.patterns = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// run fuzzes everything and reports to out.
func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	targets, err := build(ctx, dir, o)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("no target has such a name")
	}
	each := o.each
	if each == 0 {
		each = max(o.total/time.Duration(len(targets)), time.Second)
	}
	failed := 0
	for _, t := range targets {
		output, err := t.fuzz(ctx, each, o.parallel)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		r := judge(output, err)
		fmt.Fprintf(out, "%s\n", r.line(t))
		if r.failure != "" {
			failed++
			fmt.Fprintf(out, "\n%s\n%s\n", output, r.advice(t))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d targets failed", failed, len(targets))
	}
	fmt.Fprintf(out, "%d targets, each for %v\n", len(targets), each.Round(time.Second))
	return nil
}
