//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/check"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// invalidConfig is a configuration that lanyard check found wrong. The command
// line was not, so no usage is shown.
type invalidConfig struct{ error }

func (e invalidConfig) Unwrap() error { return e.error }

// Is makes it count as a matter of settings.
func (invalidConfig) Is(target error) bool { return target == errSettings }

// checkResult is what lanyard check shows.
type checkResult struct {
	File     string         `json:"file"`
	Valid    bool           `json:"valid"`
	Errors   []checkFinding `json:"errors"`
	Warnings []checkFinding `json:"warnings"`
	Report   *check.Report  `json:"report,omitempty"`

	identities, destinations int
}

// checkFinding is one error or warning. Line and column are 0 where it is about
// no place in the file.
type checkFinding struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Reason string `json:"reason"`
}

func newCheckCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "check",
		Short: "Check an agent's configuration, and show which running processes would get which identity",
		Long: "Checks an agent's configuration and exits with 2 if it is wrong. Otherwise shows what in it cannot work as\n" +
			"it was meant, which running processes would get which identity, and which nearly would and why not.\n" +
			"It changes nothing, needs no eBPF, and sees as much of other users' processes as the user who runs it.",
		Args: cobra.NoArgs,
	}
	command.Flags().StringVarP(&file, "config", "c", "", "file to check (LANYARD_CONFIG)")
	output := addOutputFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if file == "" {
			settings, err := agent.ReadSettings(setVariables(os.Environ()))
			if err != nil {
				return invalidConfig{err}
			}
			file = settings.Config
		}
		return runCheck(command.Context(), file, output, command.OutOrStdout())
	}
	return command
}

// setVariables leaves out variables that are set to nothing.
func setVariables(environ []string) map[string]string {
	environment := env.ToMap(environ)
	for name, value := range environment {
		if value == "" {
			delete(environment, name)
		}
	}
	return environment
}

func runCheck(ctx context.Context, file string, output *outputFlag, out io.Writer) error {
	result := checkResult{File: file, Errors: []checkFinding{}, Warnings: []checkFinding{}}
	config, warnings, err := agent.LoadConfig(file, attribution.HostAccounts{})
	if err != nil {
		result.fail(err)
		// Errors go where errors go; only a program wants them here.
		return errors.Join(output.print(out, result, func(io.Writer) {}), invalidConfig{err})
	}
	result.Valid = true
	result.identities, result.destinations = len(config.Policy.Identities()), len(config.Policy.Destinations())
	for _, w := range warnings {
		result.Warnings = append(result.Warnings, checkFinding{w.Line, w.Column, w.Reason})
	}
	for _, reason := range check.Programs(config.Policy) {
		result.warn(reason)
	}
	if err := result.scan(ctx, config.Policy); err != nil {
		return fmt.Errorf("check configuration: %w", err)
	}
	return output.print(out, result, result.print)
}

func (r *checkResult) warn(reason string) {
	r.Warnings = append(r.Warnings, checkFinding{Reason: reason})
}

func (r *checkResult) fail(err error) {
	wrong, ok := errors.AsType[agent.ConfigErrors](err)
	if !ok {
		r.Errors = append(r.Errors, checkFinding{Reason: err.Error()})
	}
	for _, one := range wrong {
		r.Errors = append(r.Errors, checkFinding{one.Line, one.Column, one.Reason})
	}
}

// scan looks at the running processes.
func (r *checkResult) scan(ctx context.Context, policy *registry.Policy) (err error) {
	cgroup2, err := attribution.FindCgroup2("/proc")
	if err != nil {
		r.warn(fmt.Sprintf("no cgroup and no systemd unit of a process is known: %v", err))
		cgroup2 = ""
	}
	reader, err := attribution.NewReader(attribution.ReaderConfig{
		Proc: "/proc", Root: "/", Cgroup2: cgroup2, Names: attribution.HostAccounts{},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	processes, hidden, err := reader.Scan(ctx, attribution.Facts{SHA256: policy.Needs(workload.KindSHA256), CommandLine: true})
	if err != nil {
		return err
	}
	report := check.Processes(policy, processes, hidden)
	r.Report = &report
	return nil
}

// print shows a valid configuration to people. What holds tabs is quoted or our
// own, so that the table's columns are what we make them.
func (r *checkResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s is valid: identities: %d, destinations: %d\n", r.File, r.identities, r.destinations)
	for _, warning := range r.Warnings {
		at := ""
		if warning.Line > 0 {
			at = fmt.Sprintf("%s:%d:%d: ", r.File, warning.Line, warning.Column)
		}
		fmt.Fprintf(w, "warning: %s%s\n", at, strings.ReplaceAll(warning.Reason, "\t", " "))
	}
	r.Report.Print(w)
}
