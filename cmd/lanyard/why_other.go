//go:build !linux

package main

import "github.com/spf13/cobra"

// newWhyCommand explains words only: a request is explained on the Linux host on which
// its program runs.
func newWhyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "why WORD",
		Short: "Say what an outcome means (requests are explained on Linux only)",
		Args:  cobra.ExactArgs(1),
	}
	output := addOutputFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return explainWord(args[0], output, command.OutOrStdout())
	}
	return command
}
