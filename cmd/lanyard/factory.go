package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func newFactoryCommand() *cobra.Command {
	return newGroup("factory", "Let ticket factories mint tickets or not (lanyard apply makes them)",
		newFactoryCloseCommand(),
		newFactoryReopenCommand(),
	)
}

func newFactoryCloseCommand() *cobra.Command {
	return newAdminCommand("close NAME", "Let a ticket factory mint no tickets; those that it made stay", 1,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			factory, err := client.SetMinting(command.Context(), args[0], resource.MintingClosed)
			if err != nil {
				return fmt.Errorf("close ticket factory: %w", err)
			}
			return output.print(command.OutOrStdout(), factory, func(w io.Writer) { printFactories(w, []resource.TicketFactory{factory}) })
		})
}

func newFactoryReopenCommand() *cobra.Command {
	var all bool
	command := newAdminCommandOf("reopen NAME...", "Let closed ticket factories mint again, as after a restore", cobra.ArbitraryArgs,
		func(command *cobra.Command, client *admin.Client, names []string, output *outputFlag) error {
			if all == (len(names) > 0) {
				return usageError{fmt.Errorf("name ticket factories, or say --all")}
			}
			if all {
				var err error
				if names, err = closedFactories(command, client); err != nil {
					return err
				}
			}
			reopened := []resource.TicketFactory{}
			for _, name := range names {
				factory, err := client.SetMinting(command.Context(), name, resource.MintingOpen)
				if err != nil {
					return fmt.Errorf("reopen ticket factory %s: %w", name, err)
				}
				reopened = append(reopened, factory)
			}
			return output.print(command.OutOrStdout(), reopened, func(w io.Writer) { printFactories(w, reopened) })
		})
	command.Flags().BoolVar(&all, "all", false, "every ticket factory that is closed, also those that an administrator closed")
	return command
}

// closedFactories returns the names of the ticket factories that are closed.
func closedFactories(command *cobra.Command, client *admin.Client) ([]string, error) {
	factories, err := client.TicketFactories(command.Context())
	if err != nil {
		return nil, fmt.Errorf("list ticket factories: %w", err)
	}
	var names []string
	for _, f := range factories {
		if f.Spec.Minting == resource.MintingClosed {
			names = append(names, f.Name)
		}
	}
	return names, nil
}

func printFactories(w io.Writer, factories []resource.TicketFactory) {
	fmt.Fprintln(w, "NAME\tSTATUS\tMINTING\tDESCRIPTION")
	for _, f := range factories {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, f.Spec.Status, f.Spec.Minting, f.Spec.Description)
	}
}
