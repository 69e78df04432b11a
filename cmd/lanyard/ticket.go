package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func newTicketCommand() *cobra.Command {
	return newGroup("ticket", "Make, show, close and deactivate the tickets that enrol workloads",
		newTicketCreateCommand(),
		newTicketListCommand(),
		newTicketShowCommand(),
		newTicketCloseCommand(),
		newTicketReopenCommand(),
		newTicketDeactivateCommand(),
	)
}

func newTicketCreateCommand() *cobra.Command {
	var spec resource.TicketSpec
	var expiresIn, workloadTTL, maxTokenTTL time.Duration
	command := newAdminCommand("create", "Make a ticket and show its secret, this once", 0,
		func(command *cobra.Command, client *admin.Client, _ []string, output *outputFlag) error {
			if expiresIn < 0 || workloadTTL < 0 || maxTokenTTL < 0 {
				return usageError{fmt.Errorf("make ticket: a duration is negative")}
			}
			if expiresIn > 0 {
				at := time.Now().Add(expiresIn)
				spec.ExpiresAt = &at
			}
			if workloadTTL > 0 {
				spec.WorkloadTTL = workloadTTL.String()
			}
			if maxTokenTTL > 0 {
				spec.MaxTokenTTL = maxTokenTTL.String()
			}
			ticket, err := client.CreateTicket(command.Context(), spec)
			if err != nil {
				return fmt.Errorf("make ticket: %w", err)
			}
			return output.print(command.OutOrStdout(), ticket, func(w io.Writer) { printNewTicket(w, ticket) })
		})
	flags := command.Flags()
	flags.StringVar(&spec.Description, "description", "", "what the ticket is for")
	flags.DurationVar(&expiresIn, "expires-in", 0, "how long the ticket, and what it enrols, is good for (default: for ever)")
	flags.DurationVar(&workloadTTL, "workload-ttl", 0, "how long an enrolled workload is good for (default: for ever)")
	flags.DurationVar(&maxTokenTTL, "max-token-ttl", 0, "how long an ID token lives at most (default: as the authority allows)")
	flags.Int64Var(&spec.MaxUses, "max-uses", 0, "how many workloads it may enrol (default: any number)")
	flags.StringArrayVar(&spec.Tags, "tag", nil, "tag of the workloads; may be repeated")
	flags.StringVar(&spec.Role, "role", resource.RoleWorkload, "workload, orchestrator or agent")
	flags.StringArrayVar(&spec.Audiences, "audience", nil, "audience that tokens may be for; may be repeated (default: any)")
	flags.StringArrayVar(&spec.Networks, "network", nil, "network list that the workloads must call from; may be repeated (default: any source)")
	return command
}

func newTicketListCommand() *cobra.Command {
	return newAdminCommand("list", "List the tickets, without their secrets", 0,
		func(command *cobra.Command, client *admin.Client, _ []string, output *outputFlag) error {
			tickets, err := client.Tickets(command.Context())
			if err != nil {
				return fmt.Errorf("list tickets: %w", err)
			}
			slices.SortFunc(tickets, func(a, b resource.Ticket) int {
				return cmp.Or(a.Status.CreatedAt.Compare(b.Status.CreatedAt), strings.Compare(a.Name, b.Name))
			})
			return output.print(command.OutOrStdout(), tickets, func(w io.Writer) { printTickets(w, tickets) })
		})
}

func newTicketShowCommand() *cobra.Command {
	return newAdminCommand("show ID", "Show one ticket, without its secret", 1,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			ticket, err := client.Ticket(command.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show ticket: %w", err)
			}
			return output.print(command.OutOrStdout(), ticket, func(w io.Writer) { printTicket(w, ticket) })
		})
}

func newTicketDeactivateCommand() *cobra.Command {
	return newAdminCommand("deactivate ID", "Stop enrolments by a ticket, and refuse the workloads it enrolled", 1,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			ticket, err := client.DeactivateTicket(command.Context(), args[0])
			if err != nil {
				return fmt.Errorf("deactivate ticket: %w", err)
			}
			return output.print(command.OutOrStdout(), ticket, func(w io.Writer) { printTicket(w, ticket) })
		})
}

func newTicketCloseCommand() *cobra.Command {
	return newAdminCommand("close ID", "Stop enrolments by a ticket; the workloads it enrolled go on", 1,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			ticket, err := client.SetEnrolment(command.Context(), args[0], resource.EnrolmentClosed)
			if err != nil {
				return fmt.Errorf("close ticket: %w", err)
			}
			return output.print(command.OutOrStdout(), ticket, func(w io.Writer) { printTicket(w, ticket) })
		})
}

func newTicketReopenCommand() *cobra.Command {
	var all bool
	command := newAdminCommandOf("reopen ID...", "Let closed tickets enrol again, as after a restore", cobra.ArbitraryArgs,
		func(command *cobra.Command, client *admin.Client, names []string, output *outputFlag) error {
			if all == (len(names) > 0) {
				return usageError{fmt.Errorf("name tickets, or say --all")}
			}
			if all {
				var err error
				if names, err = closedTickets(command, client); err != nil {
					return err
				}
			}
			reopened := []resource.Ticket{}
			for _, name := range names {
				ticket, err := client.SetEnrolment(command.Context(), name, resource.EnrolmentOpen)
				if err != nil {
					return fmt.Errorf("reopen ticket %s: %w", name, err)
				}
				reopened = append(reopened, ticket)
			}
			return output.print(command.OutOrStdout(), reopened, func(w io.Writer) { printTickets(w, reopened) })
		})
	command.Flags().BoolVar(&all, "all", false, "every ticket that is closed, also those that an administrator closed")
	return command
}

// closedTickets returns the names of the tickets that enrol nobody for being closed.
func closedTickets(command *cobra.Command, client *admin.Client) ([]string, error) {
	tickets, err := client.Tickets(command.Context())
	if err != nil {
		return nil, fmt.Errorf("list tickets: %w", err)
	}
	var names []string
	for _, t := range tickets {
		if t.Spec.Enrolment == resource.EnrolmentClosed {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

func printNewTicket(w io.Writer, t resource.Ticket) {
	fmt.Fprintf(w, "ticket\t%s\n", t.Ticket)
	fmt.Fprintf(w, "\t(keep it now: it is shown this once; the id below names it afterwards)\n")
	printTicket(w, t)
}

func printTicket(w io.Writer, t resource.Ticket) {
	fmt.Fprintf(w, "id\t%s\n", t.Name)
	fmt.Fprintf(w, "description\t%s\n", t.Spec.Description)
	fmt.Fprintf(w, "state\t%s\n", t.Status.State)
	fmt.Fprintf(w, "enrolment\t%s\n", enrolment(t))
	fmt.Fprintf(w, "role\t%s\n", t.Spec.Role)
	fmt.Fprintf(w, "uses\t%s\n", uses(t))
	fmt.Fprintf(w, "expires\t%s\n", expiry(t))
	fmt.Fprintf(w, "workload ttl\t%s\n", cmp.Or(t.Spec.WorkloadTTL, "for ever"))
	fmt.Fprintf(w, "longest token\t%s\n", cmp.Or(t.Spec.MaxTokenTTL, "as the authority allows"))
	fmt.Fprintf(w, "tags\t%s\n", cmp.Or(strings.Join(t.Spec.Tags, " "), "none"))
	fmt.Fprintf(w, "audiences\t%s\n", cmp.Or(strings.Join(t.Spec.Audiences, " "), "any"))
	fmt.Fprintf(w, "networks\t%s\n", cmp.Or(strings.Join(t.Spec.Networks, " "), "any source"))
	fmt.Fprintf(w, "created\t%s\n", t.Status.CreatedAt.Local().Format(time.RFC3339))
}

func printTickets(w io.Writer, tickets []resource.Ticket) {
	fmt.Fprintln(w, "ID\tSTATE\tROLE\tUSES\tEXPIRES\tDESCRIPTION")
	for _, t := range tickets {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Status.State, t.Spec.Role, uses(t), expiry(t), t.Spec.Description)
	}
}

func enrolment(t resource.Ticket) string {
	if t.Status.Closed == "" {
		return t.Spec.Enrolment
	}
	return t.Spec.Enrolment + " (" + t.Status.Closed + ")"
}

func uses(t resource.Ticket) string {
	if t.Spec.MaxUses == 0 {
		return strconv.FormatInt(t.Status.Uses, 10)
	}
	return fmt.Sprintf("%d of %d", t.Status.Uses, t.Spec.MaxUses)
}

func expiry(t resource.Ticket) string {
	if t.Spec.ExpiresAt == nil {
		return "never"
	}
	return t.Spec.ExpiresAt.Local().Format(time.RFC3339)
}
