package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// activityFlags are those of lanyard activity.
type activityFlags struct {
	filter                  admin.ActivityFilter
	refused, follow, verify bool
	since, until            time.Duration
	limit                   int
}

func newActivityCommand() *cobra.Command {
	var flags activityFlags
	command := newAdminCommand("activity", "Show what was asked of the authority, by whom and with which outcome", 0,
		func(command *cobra.Command, client *admin.Client, _ []string, output *outputFlag) error {
			if *output == "yaml" {
				return usageError{errors.New("show activity: -o is table or json (a line for each event)")}
			}
			if flags.limit < 0 || flags.since < 0 || flags.until < 0 {
				return usageError{errors.New("show activity: a number or a duration is negative")}
			}
			if flags.verify {
				return verifyActivity(command, client, output)
			}
			if err := flags.show(command, client, output); err != nil {
				return fmt.Errorf("show activity: %w", err)
			}
			return nil
		})
	f := command.Flags()
	f.StringVar(&flags.filter.Kind, "kind", "", "only of this kind, like enrol, id_token or ticket.create")
	f.StringVar(&flags.filter.Workload, "workload", "", "only of the workload with this id")
	f.StringVar(&flags.filter.Ticket, "ticket", "", "only of the ticket with this id")
	f.StringVar(&flags.filter.Admin, "admin", "", "only of the administrator's token with this name")
	f.StringVar(&flags.filter.Source, "source", "", "only from this address")
	f.BoolVar(&flags.refused, "refused", false, "only what was refused")
	f.DurationVar(&flags.since, "since", 0, "only of so long ago, or later")
	f.DurationVar(&flags.until, "until", 0, "only of longer ago")
	f.IntVar(&flags.limit, "limit", 100, "only the newest so many; 0 means all")
	f.BoolVar(&flags.follow, "follow", false, "go on with what comes, until interrupted")
	f.BoolVar(&flags.verify, "verify", false, "look only whether the activity is as it was written")
	return command
}

func (f *activityFlags) show(command *cobra.Command, client *admin.Client, output *outputFlag) error {
	if f.refused {
		f.filter.Outcome = resource.OutcomeRefused
	}
	if f.since > 0 {
		f.filter.Since = time.Now().Add(-f.since)
	}
	if f.until > 0 {
		f.filter.Until = time.Now().Add(-f.until)
	}
	print := newActivityPrinter(command.OutOrStdout(), output)
	ctx := command.Context()
	var last int64
	if f.limit > 0 {
		recent, err := client.RecentActivity(ctx, f.filter, f.limit)
		if err != nil {
			return err
		}
		for _, a := range recent {
			if err := print(a); err != nil {
				return err
			}
			last = a.Sequence
		}
		if !f.follow {
			return nil
		}
	}
	err := client.StreamActivity(ctx, f.filter, last, f.follow, print)
	if f.follow && ctx.Err() != nil {
		return nil // interrupted, as it was meant to be
	}
	return err
}

// newActivityPrinter returns what prints one event. Columns have fixed widths: what
// is to come is not known.
func newActivityPrinter(w io.Writer, output *outputFlag) func(resource.Activity) error {
	if *output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return func(a resource.Activity) error { return encoder.Encode(a) }
	}
	const columns = "%8s  %-25s  %-7s  %-21s  %-15s  %s\n"
	fmt.Fprintf(w, columns, "SEQUENCE", "TIME", "OUTCOME", "KIND", "SOURCE", "WHAT")
	return func(a resource.Activity) error {
		_, err := fmt.Fprintf(w, columns, fmt.Sprint(a.Sequence), a.At.Local().Format(time.RFC3339), a.Outcome, a.Kind, orDash(a.Source), what(a))
		return err
	}
}

// what puts everything else that an event holds into words.
func what(a resource.Activity) string {
	var words []string
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+value)
		}
	}
	add("admin", a.Admin)
	add("ticket", a.Ticket)
	add("workload", a.Workload)
	add("resource", a.Resource)
	add("token", a.TokenID)
	add("audience", strings.Join(a.Audiences, ","))
	if a.Count > 1 {
		add("count", fmt.Sprint(a.Count))
	}
	if a.Reason != "" {
		words = append(words, "("+a.Reason+")")
	}
	return onlyPrintable(strings.Join(words, " "))
}

// onlyPrintable keeps what a stranger may have sent from the terminal.
func onlyPrintable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func verifyActivity(command *cobra.Command, client *admin.Client, output *outputFlag) error {
	chain, err := client.VerifyActivity(command.Context())
	if err != nil {
		return fmt.Errorf("verify activity: %w", err)
	}
	if !chain.Intact {
		return fmt.Errorf("verify activity: %s", chain.Problem)
	}
	return output.print(command.OutOrStdout(), chain, func(w io.Writer) {
		fmt.Fprintf(w, "intact\tevents %d to %d\n", chain.First, chain.Last)
		for _, c := range chain.Classes {
			if c.Last > 0 {
				fmt.Fprintf(w, "%s\tevents %d to %d\t%s\n", cmp.Or(c.Class, "before classes"), c.First, c.Last, c.Hash)
			}
		}
	})
}
