package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// applied is what lanyard apply shows of one resource.
type applied struct {
	Kind   string       `json:"kind"`
	Name   string       `json:"name"`
	Change admin.Change `json:"change"`
	Ticket string       `json:"ticket,omitempty"` // the secrets that this made
	Token  string       `json:"token,omitempty"`
}

func newApplyCommand() *cobra.Command {
	var files []string
	command := newAdminCommand("apply -f FILE", "Make resources what files say (YAML or JSON; - is standard input)", 0,
		func(command *cobra.Command, client *admin.Client, _ []string, output *outputFlag) error {
			if len(files) == 0 {
				return usageError{fmt.Errorf("name a file with -f")}
			}
			declared, err := readDeclarations(command.InOrStdin(), files)
			if err != nil {
				return err
			}
			done := []applied{}
			for _, d := range declared {
				now, change, err := client.Apply(command.Context(), d.Kind, d.Declaration)
				if err != nil {
					err = fmt.Errorf("apply %s %s: %w", d.Kind.Kind, d.Declaration.Name, err)
					if shown := output.print(command.OutOrStdout(), done, func(w io.Writer) { printApplied(w, done) }); shown != nil {
						return shown
					}
					return err
				}
				done = append(done, applied{now.Kind, now.Name, change, now.Ticket, now.Token})
			}
			return output.print(command.OutOrStdout(), done, func(w io.Writer) { printApplied(w, done) })
		})
	command.Flags().StringArrayVarP(&files, "file", "f", nil, "file of declarations; may be repeated")
	return command
}

// readDeclarations reads every file before anything is applied.
func readDeclarations(stdin io.Reader, files []string) (all []admin.Declared, err error) {
	for _, name := range files {
		in := stdin
		if name != "-" {
			file, err := os.Open(name)
			if err != nil {
				return nil, fmt.Errorf("read declarations: %w", err)
			}
			defer file.Close()
			in = file
		}
		declared, err := admin.ReadDeclarations(in, name)
		if err != nil {
			return nil, err
		}
		all = append(all, declared...)
	}
	return all, nil
}

func printApplied(w io.Writer, done []applied) {
	for _, d := range done {
		fmt.Fprintf(w, "%s\t%s\t%s\n", d.Kind, d.Name, d.Change)
		for _, secret := range []string{d.Ticket, d.Token} {
			if secret != "" {
				fmt.Fprintf(w, "\t\t%s (keep it now: it is shown this once)\n", secret)
			}
		}
	}
}

func newGetCommand() *cobra.Command {
	command := newAdminCommandOf("get KIND [NAME]", "Show the resources of a kind, or one of them", cobra.RangeArgs(1, 2),
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			kind, err := findKind(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				one, err := client.Get(command.Context(), kind, args[1])
				if err != nil {
					return fmt.Errorf("get %s: %w", kind.Kind, err)
				}
				return output.print(command.OutOrStdout(), one, func(w io.Writer) { printResources(w, kind, []resource.Any{one}) })
			}
			all, err := client.List(command.Context(), kind)
			if err != nil {
				return fmt.Errorf("get %s: %w", kind.Plural(), err)
			}
			return output.print(command.OutOrStdout(), all, func(w io.Writer) { printResources(w, kind, all) })
		})
	return command
}

func newDeleteCommand() *cobra.Command {
	return newAdminCommand("delete KIND NAME", "Remove a resource", 2,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			kind, err := findKind(args[0])
			if err != nil {
				return err
			}
			if err := client.Delete(command.Context(), kind, args[1]); err != nil {
				return fmt.Errorf("delete %s %s: %w", kind.Kind, args[1], err)
			}
			gone := applied{Kind: kind.Kind, Name: args[1], Change: "deleted"}
			return output.print(command.OutOrStdout(), gone, func(w io.Writer) { printApplied(w, []applied{gone}) })
		})
}

func findKind(word string) (resource.KindInfo, error) {
	kind, found := resource.FindKind(word)
	if !found {
		var names []string
		for _, k := range resource.Kinds() {
			names = append(names, k.Plural())
		}
		return kind, usageError{fmt.Errorf("there is no kind %q; there are %v", word, names)}
	}
	return kind, nil
}
