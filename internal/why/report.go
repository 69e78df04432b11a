package why

import (
	"fmt"
	"io"
	"strings"

	"github.com/lanyardhq/lanyard/internal/check"
)

// State is what a step says.
type State string

// The states.
const (
	OK      State = "ok"
	No      State = "no"      // the request gets no token because of this
	Unknown State = "unknown" // it cannot be told without the request itself
)

// Step is one decision on a request's way.
type Step struct {
	Name  string `json:"step"`
	State State  `json:"state"`
	Says  string `json:"says"`
	Do    string `json:"do,omitempty"` // what would change it
}

// Report is what would become of a request.
type Report struct {
	URL     string `json:"url"`
	Source  string `json:"source"`            // whose answers these are
	Process string `json:"process,omitempty"` // who would send it, "" for anybody
	Steps   []Step `json:"steps"`
	// Injected: every step that can be told says yes.
	Injected bool `json:"injected"`
	// Outcome is the word by which the request would be counted, "" where it would not
	// be seen at all.
	Outcome string `json:"outcome"`
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	by := ""
	if r.Process != "" {
		by = " by " + check.Printable(r.Process)
	}
	fmt.Fprintf(w, "%s%s, %s\n", check.Printable(r.URL), by, r.Source)
	for _, step := range r.Steps {
		state := string(step.State)
		if step.State == No {
			state = "NO"
		}
		fmt.Fprintf(w, "  %-8s %-12s %s\n", state, step.Name, printable(step.Says))
		if step.Do != "" {
			fmt.Fprintf(w, "  %-8s %-12s -> %s\n", "", "", printable(step.Do))
		}
	}
	fmt.Fprintf(w, "%s\n", r.verdict())
}

func (r Report) verdict() string {
	switch {
	case r.Injected:
		return "It would get the token: injected."
	case r.Outcome == "":
		return "It would get no token, and Lanyard would not see it."
	}
	return fmt.Sprintf("It would get no token: %s. lanyard why %s says what that means.", r.Outcome, r.Outcome)
}

// printable is check.Printable for a text in which line ends part what it tells.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = check.Printable(lines[i])
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", 24))
}
