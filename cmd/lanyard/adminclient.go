package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

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

// outputFlag is the -o flag of every command that shows something.
type outputFlag string

func addOutputFlag(command *cobra.Command) *outputFlag {
	output := outputFlag("table")
	command.Flags().VarP(&output, "output", "o", "table or json")
	return &output
}

// String, Set and Type implement pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Set accepts the two formats there are.
func (o *outputFlag) Set(value string) error {
	if value != "table" && value != "json" {
		return fmt.Errorf("want table or json")
	}
	*o = outputFlag(value)
	return nil
}

// Type names the flag's value in the usage.
func (o *outputFlag) Type() string { return "FORMAT" }

// print writes value as JSON, or whatever table makes of it.
func (o *outputFlag) print(w io.Writer, value any, table func(io.Writer)) error {
	if *o == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(columns)
	return columns.Flush()
}
