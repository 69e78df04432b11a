package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newRootCommand returns the whole command line.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "lanyard",
		Short:         "Give every process its own identity, and its requests the right token",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newActivityCommand(),
		newAgentCommand(),
		newApplyCommand(),
		newAuthorityCommand(),
		newCheckCommand(),
		newDeleteCommand(),
		newDemoCommand(),
		newGetCommand(),
		newFactoryCommand(),
		newKeyCommand(),
		newRunCommand(),
		newTicketCommand(),
		newVerifyCommand(),
		newVersionCommand(),
		newWhyCommand(),
	)
	markRunErrors(root)
	return root
}

// newGroup returns a command that only holds others.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names := make([]string, 0, len(commands))
			for _, c := range commands {
				names = append(names, c.Name())
			}
			return usageError{errNeedsSubCommand(names)}
		},
	}
	group.AddCommand(commands...)
	return group
}

// errNeedsSubCommand names the sub-commands there are.
type errNeedsSubCommand []string

func (e errNeedsSubCommand) Error() string {
	return "say what to do: " + strings.Join(e, ", ")
}

// markRunErrors tells the errors of every command's own work from cobra's, by
// which the exit code is chosen.
func markRunErrors(command *cobra.Command) {
	if inner := command.RunE; inner != nil {
		command.RunE = func(c *cobra.Command, args []string) error {
			if err := inner(c, args); err != nil {
				return runError{err}
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		markRunErrors(child)
	}
}
