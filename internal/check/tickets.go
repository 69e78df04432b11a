package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// Tickets says which identities cannot enrol by their ticket files, and which of these
// files let others in, by name of the identity. An enrolled one needs none any more.
func Tickets(files map[string]string, enrolled func(identity string) bool) []string {
	var warnings []string
	for _, identity := range slices.Sorted(maps.Keys(files)) {
		if enrolled(identity) {
			continue
		}
		if problem := ticketProblem(files[identity]); problem != "" {
			warnings = append(warnings, fmt.Sprintf("identity %s: %s", identity, problem))
		}
	}
	return warnings
}

func ticketProblem(file string) string {
	f, err := trustedpath.Open(file, trustedpath.Given)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("ticket_file %s does not exist, and the identity is not enrolled; put a ticket there (lanyard ticket create), readable by its owner only", Printable(file))
	case errors.Is(err, fs.ErrPermission):
		return "" // not ours to read; whether the agent can does not show
	case err != nil:
		return fmt.Sprintf("its ticket_file is refused: %v", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("its ticket_file cannot be looked at: %v", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Sprintf("ticket_file %s has mode %04o, and whoever can read the ticket can enrol in its place; run chmod 600 on it", Printable(file), info.Mode().Perm())
	}
	return ""
}
