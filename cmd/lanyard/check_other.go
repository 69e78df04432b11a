//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// newCheckCommand says where lanyard check runs.
func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check an agent's configuration (Linux only)",
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("a configuration is checked on the Linux host that it is for, whose users and processes it names")}
		},
	}
}
