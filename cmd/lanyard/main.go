// Command lanyard is the host agent, the identity authority and their command
// line in one binary. Each sub-command has a file: it parses, builds and runs.
//
// It must not know how anything is done: that is the packages' business.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/verify"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(stderr, "lanyard:", err)
	code := exitCode(err)
	if code == exitUsage && !isConfig(err) {
		fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", command.CommandPath())
	}
	return code
}

// runError marks what a command's own work returned; everything else was wrong
// usage, found by cobra before the command ran.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// usageError marks wrong usage or configuration that a command found itself. Its
// exit code is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var ran runError
	switch {
	case errors.As(err, &usage), isConfig(err), !errors.As(err, &ran):
		return exitUsage
	default:
		return exitFailed
	}
}

// isConfig reports whether the error is about settings rather than the command line.
func isConfig(err error) bool {
	return errors.Is(err, authority.ErrConfig) || errors.Is(err, admin.ErrConfig) || errors.Is(err, verify.ErrConfig) ||
		errors.Is(err, errSettings)
}
