package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/why"
)

// errNoToken is how lanyard why ends where a request would get no token.
var errNoToken = errors.New("no token")

// whyOptions are what lanyard why is told.
type whyOptions struct {
	question agent.WhyQuestion
	address  string
	file     string // of the configuration, where no agent answers
	socket   string // of the agent
	output   *outputFlag
}

func newWhyCommand() *cobra.Command {
	var o whyOptions
	command := &cobra.Command{
		Use:   "why {--pid PID | --exe PATH --user NAME} URL | WORD",
		Short: "Say why a request gets a token or not, or what an outcome means",
		Long: "Follows a request from connect to injection, as the running agent would take it now, and says which step says\n" +
			"no and what to write. It asks the agent over its Unix socket, which answers root alone, and goes by the\n" +
			"configuration file where no agent answers. Exits with 0 if the request would get its token, and with 1 if not.\n" +
			"With the word of an outcome, a reason or a part of /readyz, it says what that means.",
		Example: "  lanyard why --pid 4711 http://ledger.internal/\n" +
			"  lanyard why --exe /usr/local/bin/billing --user billing http://ledger.internal/\n" +
			"  lanyard why destination_unverified",
		Args: cobra.ExactArgs(1),
	}
	flags := command.Flags()
	flags.Uint32Var(&o.question.PID, "pid", 0, "process that sends the request")
	flags.StringVar(&o.question.Executable, "exe", "", "or else the executable of one, which need not run")
	flags.StringVar(&o.question.User, "user", "", "and its user")
	flags.StringVar(&o.question.Unit, "systemd-unit", "", "and its systemd unit, if an identity asks for that")
	flags.StringVarP(&o.question.Method, "method", "X", "GET", "method of the request")
	flags.StringVar(&o.address, "address", "", "address that the program connects to; default is what this host resolves")
	flags.StringVarP(&o.file, "config", "c", "", "configuration to go by where no agent answers (LANYARD_CONFIG)")
	flags.StringVar(&o.socket, "local-socket", "", "Unix socket of the agent (LANYARD_LOCAL_SOCKET)")
	o.output = addOutputFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if o.question.PID == 0 && o.question.Executable == "" {
			return explainWord(args[0], o.output, command.OutOrStdout())
		}
		o.question.URL = args[0]
		if err := o.complete(); err != nil {
			return usageError{err}
		}
		return explainRequest(command.Context(), o, command.OutOrStdout(), command.ErrOrStderr())
	}
	return command
}

// complete checks what belongs together.
func (o *whyOptions) complete() (err error) {
	switch q := o.question; {
	case q.PID != 0 && (q.Executable != "" || q.User != "" || q.Unit != ""):
		return errors.New("name a process by --pid, or describe one by --exe and --user, not both")
	case q.PID == 0 && q.User == "":
		return errors.New("say who runs it, with --user")
	}
	if o.address != "" {
		if o.question.Address, err = netip.ParseAddr(o.address); err != nil {
			return fmt.Errorf("--address %q is no IP address", o.address)
		}
	}
	return nil
}

// showReport prints a report, and is an error where there would be no token.
func showReport(report why.Report, output *outputFlag, out io.Writer) error {
	if err := output.print(out, report, report.Print); err != nil || report.Injected {
		return err
	}
	if report.Outcome == "" {
		return fmt.Errorf("%w, and no outcome: Lanyard would not see the request", errNoToken)
	}
	return fmt.Errorf("%w: %s", errNoToken, report.Outcome)
}

// explainRequest asks the agent, and goes by the configuration where none answers.
func explainRequest(ctx context.Context, o whyOptions, out, warnings io.Writer) error {
	settings, err := agent.ReadSettings(setVariables(os.Environ()))
	if err != nil {
		return usageError{err}
	}
	if o.socket == "" {
		o.socket = settings.LocalSocket
	}
	if o.file == "" {
		o.file = settings.Config
	}
	if resolved, err := filepath.EvalSymlinks(o.question.Executable); err == nil && o.question.Executable != "" && resolved != o.question.Executable {
		fmt.Fprintf(warnings, "%s leads to %s, which is what the kernel reports\n", o.question.Executable, resolved)
		o.question.Executable = resolved
	}
	report, err := askAgent(ctx, o.socket, o.question)
	if cannotAsk(err) {
		fmt.Fprintf(warnings, "the agent was not asked: %v\n", err)
		report, err = explainByFile(ctx, o)
	}
	if err != nil {
		return err
	}
	return showReport(report, o.output, out)
}

func explainByFile(ctx context.Context, o whyOptions) (why.Report, error) {
	config, _, err := agent.LoadConfig(o.file, attribution.HostAccounts{})
	if err != nil {
		return why.Report{}, invalidConfig{err}
	}
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	return agent.ExplainByConfig(ctx, config.Policy, "by "+o.file+", as no agent was asked", o.question)
}
