//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// newAgentCommand says where the agent runs.
func newAgentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agent",
		Short: "Run the host agent (Linux only)",
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("the host agent needs Linux, whose kernel tells it who connects; the authority and its commands run here")}
		},
	}
}
