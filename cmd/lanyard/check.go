//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/check"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/why"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// invalidConfig is a configuration that lanyard check found wrong. The command
// line was not, so no usage is shown.
type invalidConfig struct{ error }

func (e invalidConfig) Unwrap() error { return e.error }

// Is makes it count as a matter of settings.
func (invalidConfig) Is(target error) bool { return target == errSettings }

// systemdRuns exists where systemd is the init system: sd_booted(3).
const systemdRuns = "/run/systemd/system"

// checkResult is what lanyard check shows.
type checkResult struct {
	File     string         `json:"file"`
	Valid    bool           `json:"valid"`
	Errors   []checkFinding `json:"errors"`
	Warnings []checkFinding `json:"warnings"`
	Report   *check.Report  `json:"report,omitempty"`
	URLs     []why.Report   `json:"urls,omitempty"`

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
		Use:   "check [URL...]",
		Short: "Check an agent's configuration, and show which running processes would get which identity",
		Long: "Checks an agent's configuration and exits with 2 if it is wrong. Otherwise shows what in it cannot work as\n" +
			"it was meant, which running processes would get which identity, and which nearly would and why not.\n" +
			"Of each URL, it says which destination that is, who may go there and what is missing, and exits with 1 if a\n" +
			"request there would get no token, whoever sent it. It changes nothing, needs no eBPF, and sees as much of other users' processes as the user who runs it.",
		Args: cobra.ArbitraryArgs,
	}
	command.Flags().StringVarP(&file, "config", "c", "", "file to check (LANYARD_CONFIG)")
	output := addOutputFlag(command)
	command.RunE = func(command *cobra.Command, urls []string) error {
		for _, url := range urls {
			if strings.HasSuffix(url, ".yaml") || strings.HasSuffix(url, ".yml") {
				return usageError{fmt.Errorf("%s is a file; name it with -c", url)}
			}
		}
		if file == "" {
			settings, err := agent.ReadSettings(setVariables(os.Environ()))
			if err != nil {
				return invalidConfig{err}
			}
			file = settings.Config
		}
		return runCheck(command.Context(), file, urls, output, command.OutOrStdout())
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

func runCheck(ctx context.Context, file string, urls []string, output *outputFlag, out io.Writer) error {
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
	for _, reason := range slices.Concat(check.Programs(config.Policy), check.Doubts(config.Policy, namesOf),
		check.Unreachable(config.Policy, neededServers(setVariables(os.Environ())))) {
		result.warn(reason)
	}
	cgroup2, err := attribution.FindCgroup2("/proc")
	if err != nil {
		result.warn(fmt.Sprintf("no cgroup and no systemd unit of a process is known: %v", err))
		cgroup2 = ""
	}
	for _, reason := range append(ticketWarnings(config), placeWarnings(config.Policy, cgroup2)...) {
		result.warn(reason)
	}
	wrong := result.lookAtServers(ctx, config.Policy, cgroup2)
	if err := result.scan(ctx, config.Policy, cgroup2); err != nil {
		return fmt.Errorf("check configuration: %w", err)
	}
	if len(wrong) > 0 {
		result.Valid = false
		return errors.Join(output.print(out, result, func(io.Writer) {}), invalidConfig{errors.New(strings.Join(wrong, "\n"))})
	}
	without, err := result.lookAtURLs(ctx, config.Policy, urls)
	if err != nil {
		return usageError{err}
	}
	err = output.print(out, result, result.print)
	if err == nil && len(without) > 0 {
		err = fmt.Errorf("%w for %s", errNoToken, strings.Join(without, ", "))
	}
	return err
}

// lookAtURLs explains what becomes of requests, whoever sends them, and returns the URLs
// that get no token.
func (r *checkResult) lookAtURLs(ctx context.Context, policy *registry.Policy, urls []string) (without []string, err error) {
	for _, url := range urls {
		report, err := agent.ExplainByConfig(ctx, policy, "by "+r.File, agent.WhyQuestion{URL: url})
		if err != nil {
			return nil, err
		}
		r.URLs = append(r.URLs, report)
		if !report.Injected {
			without = append(without, report.URL)
		}
	}
	return without, nil
}

// ticketWarnings looks at the tickets of identities that the agent of this host, by our
// environment, has not enrolled.
func ticketWarnings(config *agent.Config) []string {
	settings, err := agent.ReadSettings(setVariables(os.Environ()))
	if err != nil {
		return []string{fmt.Sprintf("tickets are not looked at: %v", err)}
	}
	files := make(map[string]string, len(config.Operators))
	for identity, source := range config.Operators {
		files[identity] = source.TicketFile
	}
	return check.Tickets(files, func(identity string) bool { return agent.MayBeEnrolled(settings.StateDir, identity) })
}

// placeWarnings looks for the cgroups and units that have to serve destinations.
func placeWarnings(policy *registry.Policy, cgroup2 string) []string {
	isCgroup := func(path string) bool {
		info, err := os.Stat(filepath.Join(cgroup2, path))
		return cgroup2 == "" || err == nil && info.IsDir()
	}
	_, err := os.Stat(systemdRuns)
	return check.Places(policy, isCgroup, err == nil)
}

// namesOf counts the names (hard links) of the file at a path, 0 where there is none.
func namesOf(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return uint64(st.Nlink)
}

// neededServers are the servers that this host depends on, by the environment.
func neededServers(environment map[string]string) []check.Server {
	var servers []check.Server
	add := func(what, url string) {
		if s, ok := check.ServerAt(what, url); ok {
			servers = append(servers, s)
		}
	}
	if host := environment["KUBERNETES_SERVICE_HOST"]; host != "" {
		add("the API server of Kubernetes", "https://"+net.JoinHostPort(host, cmp.Or(environment["KUBERNETES_SERVICE_PORT"], "443")))
	}
	if settings, err := agent.ReadSettings(environment); err == nil {
		add("the authority", settings.AuthorityURL)
		if settings.OperatorBase != settings.AuthorityURL+"/operator" {
			add("the operator base", settings.OperatorBase)
		}
	}
	return servers
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
func (r *checkResult) scan(ctx context.Context, policy *registry.Policy, cgroup2 string) (err error) {
	reader, err := attribution.NewReader(attribution.ReaderConfig{
		Proc: "/proc", Root: "/", Cgroup2: cgroup2, Names: attribution.NewHostNames(),
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
	for _, url := range r.URLs {
		fmt.Fprintln(w)
		url.Print(w)
	}
	r.Report.Print(w)
}
