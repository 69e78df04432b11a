package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// target is one fuzz target, in a binary that was built to fuzz it.
type target struct {
	name  string
	pkg   string // import path
	dir   string // of the package
	bin   string
	cache string // where go keeps the inputs that reached something new
}

// listed is what go list tells of a package.
type listed struct {
	Dir          string
	ImportPath   string
	TestGoFiles  []string
	XTestGoFiles []string
}

// declares finds a fuzz target in a source file. What there is exactly, the
// built binary says.
var declares = regexp.MustCompile(`(?m)^func Fuzz\w*\(`)

// hasTarget reports whether a test file of the package declares a fuzz target.
func (p *listed) hasTarget() (bool, error) {
	for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return false, err
		}
		if declares.Match(text) {
			return true, nil
		}
	}
	return false, nil
}

// build builds every package that has targets into dir.
func build(ctx context.Context, dir string, o options) ([]target, error) {
	packages, err := list(ctx, o.patterns)
	if err != nil {
		return nil, err
	}
	cache, err := output(exec.CommandContext(ctx, "go", "env", "GOCACHE"))
	if err != nil {
		return nil, err
	}
	var targets []target
	for i, p := range packages {
		t := target{
			pkg: p.ImportPath, dir: p.Dir,
			bin:   filepath.Join(dir, strconv.Itoa(i)+".test"),
			cache: filepath.Join(strings.TrimSpace(cache), "fuzz", filepath.FromSlash(p.ImportPath)),
		}
		names, err := t.build(ctx)
		if err != nil {
			return nil, err
		}
		for _, t.name = range names {
			if o.only.MatchString(t.name) {
				targets = append(targets, t)
			}
		}
	}
	return targets, nil
}

// list returns the packages that have targets.
func list(ctx context.Context, patterns []string) ([]listed, error) {
	text, err := output(exec.CommandContext(ctx, "go", append([]string{"list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles"}, patterns...)...))
	if err != nil {
		return nil, err
	}
	var packages []listed
	for in := json.NewDecoder(strings.NewReader(text)); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list prints: %w", err)
		}
		has, err := p.hasTarget()
		if err != nil {
			return nil, err
		}
		if has {
			packages = append(packages, p)
		}
	}
}

// build builds the binary and asks it for its targets.
func (t *target) build(ctx context.Context) ([]string, error) {
	// Only with -fuzz are the package and all that it imports instrumented.
	if _, err := output(exec.CommandContext(ctx, "go", "test", "-c", "-fuzz=^Fuzz", "-o", t.bin, t.pkg)); err != nil {
		return nil, err
	}
	names := exec.CommandContext(ctx, t.bin, "-test.list=^Fuzz")
	names.Dir = t.dir
	text, err := output(names)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), nil
}

// minimizing bounds how often go tries to find a smaller input that does the same.
// That is done to each input that reaches something new, and with the default, a
// minute, the time is spent on little else.
const minimizing = "100x"

// fuzz runs the target in its package's folder, as go test does.
func (t *target) fuzz(ctx context.Context, each time.Duration, parallel int) (string, error) {
	args := []string{
		"-test.run=^$", "-test.fuzz=^" + t.name + "$", "-test.fuzztime=" + each.String(), "-test.fuzzcachedir=" + t.cache,
		"-test.fuzzminimizetime=" + minimizing, "-test.timeout=0", "-test.paniconexit0",
	}
	if parallel > 0 {
		args = append(args, "-test.parallel="+strconv.Itoa(parallel))
	}
	cmd := exec.CommandContext(ctx, t.bin, args...)
	cmd.Dir = t.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has workers to stop
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// output runs a command and returns what it prints; what it says of an error is
// in the error.
func output(cmd *exec.Cmd) (string, error) {
	var errout bytes.Buffer
	cmd.Stderr = &errout
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, errout.Bytes(), text)
	}
	return string(text), nil
}
