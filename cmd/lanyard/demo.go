package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lanyardhq/lanyard/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var keep bool
	command := &cobra.Command{
		Use:   "demo",
		Short: "Tell the whole story on this machine (needs root)",
		Long: "Starts an authority, a protected API and an agent in a temporary folder and a cgroup of their own,\n" +
			"and shows in six steps how a plain curl is refused, then let in. Leaves nothing behind.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find own executable: %w", err)
			}
			// A closed terminal or pipe must not end the demo before it has cleaned up.
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGHUP, syscall.SIGPIPE)
			defer stop()
			out := command.OutOrStdout()
			err = demo.Run(ctx, demo.Options{Binary: binary, Out: out, Color: isTerminal(out), Keep: keep})
			if errors.Is(err, demo.ErrUnsupported) {
				return settingsError{err}
			}
			return err
		},
	}
	command.Flags().BoolVar(&keep, "keep", false, "leave everything running, and say what to try")
	return command
}

// isTerminal reports whether colours make sense on what is written to.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
