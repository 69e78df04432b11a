package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/agent"
	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/sdnotify"
	"github.com/lanyardhq/lanyard/internal/telemetry"
)

// flushLimit is how long a stopping agent waits for its last spans to leave.
const flushLimit = 5 * time.Second

func newAgentCommand() *cobra.Command {
	var settings agent.Settings
	var uninstall, purge bool
	command := &cobra.Command{
		Use:   "agent",
		Short: "Run the host agent",
		Long: "Run the host agent: it recognises the processes that connect, and puts their identity's token on their\n" +
			"requests. It needs root. SIGHUP makes it read its configuration anew; SIGTERM lets requests on their way\n" +
			"finish. However it ends, its hooks stay in the kernel, so that an identity's requests to a destination with\n" +
			"on_failure: closed are refused until the next agent answers. --uninstall removes them.",
		Example: "  lanyard agent --config /etc/lanyard/agent.yaml\n" +
			"  lanyard agent --uninstall          remove hooks and pins; keys and enrolments stay\n" +
			"  lanyard agent --uninstall --purge  remove keys and enrolments, too",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			// First of all, since SIGHUP ends a process that does not ask for it: one that
			// comes during the start is answered after it.
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			if err := readAgentSettings(command, &settings); err != nil {
				return usageError{err}
			}
			if purge && !uninstall {
				return usageError{errors.New("--purge removes keys and enrolments; write it with --uninstall")}
			}
			if uninstall {
				return uninstallAgent(command.Context(), settings, purge, command.OutOrStdout())
			}
			return runAgent(command.Context(), settings, command.ErrOrStderr(), reload)
		},
	}
	bindAgentSettings(command)
	command.Flags().BoolVar(&uninstall, "uninstall", false, "remove hooks and pins of the instance, instead of running it; needs no configuration")
	command.Flags().BoolVar(&purge, "purge", false, "with --uninstall: remove the agent's keys and enrolments from the state folder, too")
	return command
}

// agentFlags are the flags of lanyard agent and the variables that they set.
func agentFlags() []struct{ flag, variable, usage string } {
	return []struct{ flag, variable, usage string }{
		{"config", "LANYARD_CONFIG", "file of identities and destinations"},
		{"state-dir", "LANYARD_STATE_DIR", "folder of keys and enrolments"},
		{"local-api", "LANYARD_LOCAL_API", "addresses of the local API, by commas, or off"},
		{"local-socket", "LANYARD_LOCAL_SOCKET", "Unix socket of the local API, or off"},
		{"metrics", "LANYARD_METRICS", "address of metrics and health, or off"},
		{"operator-base", "LANYARD_OPERATOR_BASE", "base of the operator, ending in /operator"},
		{"authority-url", "LANYARD_AUTHORITY_URL", "where the authority is"},
		{"issuer", "LANYARD_ISSUER", "who tokens must be from; default is the operator that enrols, or a URL that its base lies below"},
		{"ca-file", "LANYARD_CA_FILE", "PEM file of the CAs to trust instead of the system's"},
		{"key-max-age", "LANYARD_KEY_MAX_AGE", "how old a workload's key becomes before it is renewed; 0 is for ever"},
		{"cgroup", "LANYARD_CGROUP", "folder of the cgroup to attach to; default is the whole host"},
		{"instance", "LANYARD_INSTANCE", "name of this agent among several on the host"},
		{"bpffs", "LANYARD_BPFFS", "mount point of the BPF file system"},
		{"log-level", "LANYARD_LOG_LEVEL", "debug, info, warn or error"},
		{"log-format", "LANYARD_LOG_FORMAT", "text or json"},
	}
}

func bindAgentSettings(command *cobra.Command) {
	for _, f := range agentFlags() {
		command.Flags().String(f.flag, "", f.usage+" ("+f.variable+")")
	}
}

// readAgentSettings takes a setting from its flag, else from the environment,
// else its default. A variable that is set to nothing is not set.
func readAgentSettings(command *cobra.Command, settings *agent.Settings) error {
	environment := env.ToMap(os.Environ())
	for _, f := range agentFlags() {
		if flag := command.Flags().Lookup(f.flag); flag.Changed {
			environment[f.variable] = flag.Value.String()
		}
	}
	for name, value := range environment {
		if value == "" {
			delete(environment, name)
		}
	}
	if err := makeAbsolute(environment, "LANYARD_STATE_DIR", "LANYARD_BPFFS", "LANYARD_CGROUP"); err != nil {
		return err
	}
	read, err := agent.ReadSettings(environment)
	if err != nil {
		return err
	}
	*settings = read
	return settings.Complete()
}

// makeAbsolute lets paths be written relative to where the command is run. Those
// of sockets and switches are not touched: they can be the word off.
func makeAbsolute(environment map[string]string, names ...string) error {
	for _, name := range names {
		path, ok := environment[name]
		if !ok {
			continue
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		environment[name] = absolute
	}
	return nil
}

func runAgent(ctx context.Context, settings agent.Settings, stderr io.Writer, reload <-chan os.Signal) error {
	logger, err := telemetry.NewLogger(stderr, settings.LogLevel, settings.LogFormat)
	if err != nil {
		return usageError{err}
	}
	manager, err := sdnotify.FromEnvironment(os.Getenv)
	if err != nil {
		logger.Warn("the service manager will not know how the agent is", "error", err)
	}
	recorder, err := telemetry.Setup(ctx, telemetry.Options{Service: "lanyard-agent", Version: buildVersion(), Logger: logger})
	if err != nil {
		return usageError{err}
	}
	err = serveAgent(ctx, agent.Options{Settings: settings, Logger: logger, Recorder: recorder, Manager: manager}, reload)
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	return errors.Join(err, recorder.Shutdown(limited))
}

func serveAgent(ctx context.Context, options agent.Options, reload <-chan os.Signal) error {
	a, err := agent.New(ctx, options)
	if errors.Is(err, agent.ErrConfig) || errors.Is(err, probe.ErrUnsupported) {
		return settingsError{err}
	}
	if err != nil {
		return err
	}
	return a.Run(ctx, reload)
}
