package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
)

// adminSettings are the process settings of every command that asks the admin API.
type adminSettings struct {
	URL           string `env:"LANYARD_AUTHORITY_URL" flag:"authority" usage:"base of the authority" envDefault:"http://127.0.0.1:8700"`
	TokenFile     string `env:"LANYARD_ADMIN_TOKEN_FILE" flag:"admin-token-file" usage:"file with the administrator's token; default is admin-token in the data folder"`
	DataDir       string `env:"LANYARD_DATA_DIR"`
	CAFile        string `env:"LANYARD_CA_FILE" flag:"ca-file" usage:"PEM certificates that the authority's must chain to; default is the system's"`
	AllowInsecure bool   `env:"LANYARD_ALLOW_INSECURE" flag:"allow-insecure" usage:"send the token over http:// to other machines"`
}

func (s adminSettings) client() (*admin.Client, error) {
	if s.TokenFile == "" {
		if s.DataDir == "" {
			var err error
			if s.DataDir, err = defaultDataDir(); err != nil {
				return nil, err
			}
		}
		s.TokenFile = filepath.Join(s.DataDir, "admin-token")
	}
	return admin.New(admin.Config{URL: s.URL, TokenFile: s.TokenFile, CAFile: s.CAFile, AllowInsecure: s.AllowInsecure})
}

// adminRun is what a command does with the admin API.
type adminRun func(*cobra.Command, *admin.Client, []string, *outputFlag) error

// newAdminCommand returns a command that asks the admin API and shows the answer.
func newAdminCommand(use, short string, args int, run adminRun) *cobra.Command {
	return newAdminCommandOf(use, short, cobra.ExactArgs(args), run)
}

func newAdminCommandOf(use, short string, args cobra.PositionalArgs, run adminRun) *cobra.Command {
	var settings adminSettings
	command := &cobra.Command{Use: use, Short: short, Args: args}
	output := addOutputFlag(command)
	bindSettings(command, &settings)
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := readSettings(command, &settings); err != nil {
			return err
		}
		client, err := settings.client()
		if err != nil {
			return err
		}
		return run(command, client, args, output)
	}
	return command
}

// outputFlag is the -o flag of every command that shows something.
type outputFlag string

func addOutputFlag(command *cobra.Command) *outputFlag {
	output := outputFlag("table")
	command.Flags().VarP(&output, "output", "o", "table, yaml or json")
	return &output
}

// String, Set and Type implement pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Set accepts the formats that there are.
func (o *outputFlag) Set(value string) error {
	if value != "table" && value != "yaml" && value != "json" {
		return fmt.Errorf("want table, yaml or json")
	}
	*o = outputFlag(value)
	return nil
}

// Type names the flag's value in the usage.
func (o *outputFlag) Type() string { return "FORMAT" }

// print writes value as JSON or YAML, or whatever table makes of it.
func (o *outputFlag) print(w io.Writer, value any, table func(io.Writer)) error {
	switch *o {
	case "json":
		return writeJSON(w, value)
	case "yaml":
		var text bytes.Buffer
		if err := writeJSON(&text, value); err != nil {
			return err
		}
		converted, err := yaml.JSONToYAML(text.Bytes())
		if err != nil {
			return err
		}
		_, err = w.Write(converted)
		return err
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(columns)
	return columns.Flush()
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
