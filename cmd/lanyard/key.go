package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func newKeyCommand() *cobra.Command {
	return newGroup("key", "Rotate and revoke the authority's signing keys (show them with: lanyard get signing-keys)",
		newKeyRotateCommand(),
		newKeyRevokeCommand(),
	)
}

func newKeyRotateCommand() *cobra.Command {
	command := newAdminCommand("rotate", "Have the next key sign", 0,
		func(command *cobra.Command, client *admin.Client, _ []string, output *outputFlag) error {
			key, err := client.RotateSigningKey(command.Context())
			if err != nil {
				return fmt.Errorf("rotate signing key: %w", err)
			}
			return output.print(command.OutOrStdout(), key, func(w io.Writer) { printKeyState(w, key) })
		})
	command.Long = "Have the next key sign. The former one stays in the JWKS until what it signed has expired. The authority\n" +
		"refuses while the next key is too new for every verifier to know it."
	return command
}

func newKeyRevokeCommand() *cobra.Command {
	command := newAdminCommand("revoke ID", "Take a key out of use and out of the JWKS, at once", 1,
		func(command *cobra.Command, client *admin.Client, args []string, output *outputFlag) error {
			key, err := client.RevokeSigningKey(command.Context(), args[0])
			if err != nil {
				return fmt.Errorf("revoke signing key %s: %w", args[0], err)
			}
			return output.print(command.OutOrStdout(), key, func(w io.Writer) { printKeyState(w, key) })
		})
	command.Long = "Take a key out of use and out of the JWKS, at once. What it signed is refused by each verifier once it\n" +
		"fetches the JWKS again, within ten minutes. If it was the active key, the next one takes over, even if\n" +
		"verifiers do not know it yet."
	return command
}

func printKeyState(w io.Writer, key resource.SigningKey) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", key.Kind, key.Name, key.Status.Algorithm, key.Status.State)
}
