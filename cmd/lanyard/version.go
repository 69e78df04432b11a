package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// versionInfo is what lanyard version shows.
type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand() *cobra.Command {
	command := &cobra.Command{Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs}
	output := addOutputFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		info := versionInfo{Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
		return output.print(command.OutOrStdout(), info, func(w io.Writer) {
			fmt.Fprintf(w, "lanyard %s (%s, %s)\n", info.Version, info.Go, info.Platform)
		})
	}
	return command
}

// buildVersion is the version given to the build, or what Go noted of the commit.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
