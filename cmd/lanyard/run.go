package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/client"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// runSettings are the process settings of lanyard run. Its flags and the MIM_*
// variables are those of the operator protocol's own client.
type runSettings struct {
	InviteCode      string        `env:"LANYARD_INVITE_CODE" flag:"invite-code" usage:"ticket to enrol with, at the first run; other users can read a command line, but not this variable"`
	Dir             string        `env:"LANYARD_STATE_DIR" flag:"dir" usage:"folder of identity and state; another folder is another identity"`
	LocalPort       string        `env:"LANYARD_LOCAL_PORT" flag:"local-port" usage:"port of the local API, default 3013"`
	LocalAPI        []string      `env:"LANYARD_LOCAL_API" flag:"local-api" usage:"addresses of the local API, by commas; each may have a port" envDefault:"127.0.0.1,[::1]"`
	APIKey          string        `env:"MIM_API_KEY"` // a secret is no flag: every user sees those
	OperatorBase    string        `env:"LANYARD_OPERATOR_BASE" flag:"operator-base" usage:"base of the operator, ending in /operator; also MIM_OPERATOR_BASE"`
	MIMOperatorBase string        `env:"MIM_OPERATOR_BASE"`
	AuthorityURL    string        `env:"LANYARD_AUTHORITY_URL" flag:"authority-url" usage:"where the authority is" envDefault:"http://127.0.0.1:8700"`
	Issuer          string        `env:"LANYARD_ISSUER" flag:"issuer" usage:"who tokens must be from; default is the operator that enrols, or a URL that its base lies below"`
	CAFile          string        `env:"LANYARD_CA_FILE" flag:"ca-file" usage:"PEM file of the CAs to trust instead of the system's"`
	AllowInsecure   bool          `env:"LANYARD_ALLOW_INSECURE" flag:"allow-insecure" usage:"speak http to an operator on another machine"`
	KeyMaxAge       time.Duration `env:"LANYARD_KEY_MAX_AGE" flag:"key-max-age" usage:"how old the workload's key becomes before it is renewed; 0 is for ever" envDefault:"720h"`
	Level           string        `env:"LANYARD_LOG_LEVEL" flag:"level" usage:"debug, info, warn or error" envDefault:"info"`
	Format          string        `env:"LANYARD_LOG_FORMAT" flag:"log-format" usage:"text or json" envDefault:"text"`
}

// defaultLocalPort is the original client's.
const defaultLocalPort = "3013"

func newRunCommand() *cobra.Command {
	var settings runSettings
	command := &cobra.Command{
		Use:   "run",
		Short: "Run one workload's identity and its local API, without the host agent",
		Long: "Run one workload's identity: the first run enrols it with a ticket, and every run keeps an ID token ready\n" +
			"for programs of this host, which fetch it from the local API with the key. It needs no root. It runs until it\n" +
			"is interrupted.",
		Example: "  MIM_OPERATOR_BASE=https://authority.internal/operator lanyard run --invite-code TICKET",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 { // which may be a ticket, and so is not repeated
				return errors.New("run takes no arguments; write the ticket after --invite-code")
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if err := readSettings(command, &settings); err != nil {
				return err
			}
			return runClient(command.Context(), settings, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	bindSettings(command, &settings)
	return command
}

func runClient(ctx context.Context, settings runSettings, stdout, stderr io.Writer) error {
	config, err := settings.config(stderr)
	if err != nil {
		return settingsError{err}
	}
	c, err := client.New(ctx, config)
	switch {
	case errors.Is(err, operator.ErrNoTicket):
		return settingsError{fmt.Errorf("%w; the first run needs --invite-code TICKET, and so does one after a first that was cut off", err)}
	case errors.Is(err, operator.ErrOtherTicket):
		return settingsError{fmt.Errorf("%w (--dir); --invite-code is for a first run", err)}
	case errors.Is(err, operator.ErrOtherBase), errors.Is(err, client.ErrConfig):
		return settingsError{err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; name a folder that user id %d may write with --dir", err, os.Geteuid())
	case err != nil:
		return err
	}
	fmt.Fprintf(stdout, "workload: %s\nfolder: %s\n", c.WorkloadID(), config.Operator.StateDir)
	for _, address := range c.Addresses() {
		fmt.Fprintf(stdout, "local API: http://%s\n", address)
	}
	if file := c.KeyFile(); file != "" {
		fmt.Fprintf(stdout, "its key: %s\n", file)
	}
	return c.Run(ctx)
}

func (s *runSettings) config(stderr io.Writer) (client.Config, error) {
	log, err := telemetry.NewLogger(stderr, s.Level, s.Format)
	if err != nil {
		return client.Config{}, err
	}
	addresses, err := s.localAddresses()
	if err != nil {
		return client.Config{}, err
	}
	dir, err := s.folder()
	if err != nil {
		return client.Config{}, err
	}
	if s.KeyMaxAge < 0 {
		return client.Config{}, fmt.Errorf("--key-max-age %s is negative; write how old a key may become, like 720h, or 0 for ever", s.KeyMaxAge)
	}
	host, err := os.Hostname()
	if err != nil {
		return client.Config{}, fmt.Errorf("find name of this host: %w", err)
	}
	config := operator.Config{
		Host:     host,
		Base:     operator.ChooseBase(s.AuthorityURL, s.OperatorBase, s.MIMOperatorBase),
		StateDir: dir, Issuer: s.Issuer, CAFile: s.CAFile, AllowInsecure: s.AllowInsecure,
	}
	if s.InviteCode != "" {
		if config.Ticket, err = operator.NewTicket(s.InviteCode); err != nil {
			return client.Config{}, fmt.Errorf("--invite-code: %w", err)
		}
	}
	return client.Config{Operator: config, LocalAPI: addresses, APIKey: s.APIKey, Log: log, KeyMaxAge: s.KeyMaxAge}, nil
}

// folder returns the absolute path of the state folder.
func (s *runSettings) folder() (string, error) {
	if s.Dir != "" {
		return filepath.Abs(s.Dir)
	}
	data, err := defaultDataDir()
	return filepath.Join(data, "client"), err
}

// localAddresses returns where the local API listens. Each address may have a port
// of its own, but --local-port wins.
func (s *runSettings) localAddresses() ([]string, error) {
	if s.LocalPort != "" {
		if _, err := strconv.ParseUint(s.LocalPort, 10, 16); err != nil {
			return nil, fmt.Errorf("--local-port %q is no port; write one up to 65535", s.LocalPort)
		}
	}
	addresses := make([]string, 0, len(s.LocalAPI))
	for _, address := range s.LocalAPI {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			host, port = trimBrackets(address), defaultLocalPort
		}
		if s.LocalPort != "" {
			port = s.LocalPort
		}
		full := net.JoinHostPort(host, port)
		if _, err := netip.ParseAddrPort(full); err != nil {
			return nil, fmt.Errorf("LANYARD_LOCAL_API %q is no address; write one like 127.0.0.1 or 127.0.0.1:3013", address)
		}
		addresses = append(addresses, full)
	}
	return addresses, nil
}

func trimBrackets(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}
