package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/authority"
)

// toStdout is the name of a backup file that means standard output.
const toStdout = "-"

func newBackupCommand() *cobra.Command {
	var settings storageSettings
	var overwrite bool
	command := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the authority's database into one file, while it runs or not",
		Long: "Write the authority's database, as of now, into one file that only its owner can read (- is standard\n" +
			"output). The authority may run meanwhile. The key-encryption key is not in the file: keep it elsewhere.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := readSettings(command, &settings); err != nil {
				return err
			}
			config, err := settings.config()
			if err != nil {
				return err
			}
			if args[0] == toStdout {
				return streamBackup(command.Context(), config, command.OutOrStdout(), command.ErrOrStderr())
			}
			made, err := authority.WriteBackup(command.Context(), config, args[0], overwrite)
			if err != nil {
				return err
			}
			printBackup(command.OutOrStdout(), args[0], made)
			return nil
		},
	}
	command.Flags().BoolVar(&overwrite, "overwrite", false, "replace a file of that name, once the new one is whole")
	bindSettings(command, &settings)
	return command
}

// streamBackup writes a backup to out, once it is whole.
func streamBackup(ctx context.Context, config authority.Config, out, messages io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "lanyard-backup-") // mode 0700
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if removed := os.RemoveAll(folder); err == nil {
			err = removed
		}
	}()
	path := filepath.Join(folder, "backup")
	made, err := authority.WriteBackup(ctx, config, path, false)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer file.Close()
	if _, err := io.Copy(out, file); err != nil {
		return fmt.Errorf("write backup to standard output: %w", err)
	}
	printBackup(messages, "standard output", made)
	return nil
}

func printBackup(w io.Writer, file string, made authority.Backup) {
	fmt.Fprintf(w, "backup: %s, %d bytes, of %s\n", file, made.Bytes, made.TakenAt.UTC().Format(time.RFC3339))
	fmt.Fprintf(w, "in it: the whole database, with activity up to event %d; signing keys and secrets are sealed\n", made.LastEvent)
	fmt.Fprintf(w, "not in it: the key-encryption key, without which it is of no use: keep %s, elsewhere than the backup\n", made.KeyEncryptionKey)
	fmt.Fprintf(w, "not in it: settings, TLS certificates, and administrators' tokens (a restore makes a new one)\n")
}

// restoreSettings are the settings of the authority that a restore needs.
type restoreSettings struct {
	Storage          storageSettings
	SigningAlgorithm string `env:"LANYARD_SIGNING_ALGORITHM" flag:"signing-algorithm" usage:"of the new signing keys: ES256, RS256 or EdDSA" envDefault:"ES256"`
}

func newRestoreCommand() *cobra.Command {
	var settings restoreSettings
	var options authority.RestoreOptions
	command := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a backup the authority's database, while it does not run",
		Long: "Make a backup the database of an authority that does not run. What happened since the backup is not known\n" +
			"afterwards, so the signing keys are replaced, assertions from before are refused, administrators' tokens are\n" +
			"replaced by a new one, and tickets enrol nobody new, and ticket factories mint none, until an administrator\n" +
			"opens them again (lanyard ticket reopen, lanyard factory reopen). Enrolled workloads go on.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := readSettings(command, &settings); err != nil {
				return err
			}
			config, err := settings.Storage.config()
			if err != nil {
				return err
			}
			config.SigningAlgorithm = settings.SigningAlgorithm
			done, err := authority.Restore(command.Context(), config, args[0], options)
			if err != nil {
				return err
			}
			printRestored(command.OutOrStdout(), config.DataDir, options, done)
			return nil
		},
	}
	flags := command.Flags()
	flags.BoolVar(&options.Replace, "replace", false, "set a database aside that is there already")
	flags.BoolVar(&options.RevokeKeys, "revoke-keys", false, "revoke the backup's signing keys, and with them every token issued so far")
	flags.BoolVar(&options.KeepAdminTokens, "keep-admin-tokens", false, "keep the backup's administrators' tokens, also those revoked since")
	bindSettings(command, &settings)
	return command
}

func printRestored(w io.Writer, folder string, options authority.RestoreOptions, done authority.Restored) {
	fmt.Fprintf(w, "restored: %s, from the backup of %s; start the authority now\n", folder, done.TakenAt.UTC().Format(time.RFC3339))
	if done.Replaced != "" {
		fmt.Fprintf(w, "set aside: the former database, in %s\n", done.Replaced)
	}
	if options.RevokeKeys {
		fmt.Fprintln(w, "signing keys: new ones; those of the backup are revoked, and what they signed is refused once verifiers fetch the keys")
	} else {
		fmt.Fprintln(w, "signing keys: new ones; what those of the backup signed stays valid until it expires. "+
			"If one of them was revoked since, revoke it again: lanyard key revoke ID")
	}
	fmt.Fprintf(w, "tickets: %d closed to new enrolments; open them with: lanyard ticket reopen ID, or --all\n", done.TicketsClosed)
	fmt.Fprintf(w, "ticket factories: %d closed; open them with: lanyard factory reopen NAME, or --all\n", done.FactoriesClosed)
	if done.AdminTokenFile != "" {
		fmt.Fprintf(w, "administrators' tokens: %d removed; a new one is in %s\n", done.TokensRemoved, done.AdminTokenFile)
	} else {
		fmt.Fprintln(w, "administrators' tokens: as they were, also those revoked since; look at them with: lanyard get admin-tokens")
	}
	fmt.Fprintln(w, "workloads: those enrolled, or whose key was renewed, since the backup have to enrol anew; a ticket or workload deactivated since is active again")
}
