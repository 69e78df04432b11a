package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/docs"
)

// meaning is what a word means.
type meaning struct {
	Kind string `json:"kind"`
	Word string `json:"word"`
	Text string `json:"text"` // Markdown
}

// explainWord says what a word of log, metrics, /readyz or an answer means.
func explainWord(word string, output *outputFlag, out io.Writer) error {
	var found []meaning
	for _, s := range docs.About(word) {
		found = append(found, meaning{s.Kind, s.Word, s.Text})
	}
	if line := docs.BadRequest(word); line != "" {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		found = append(found, meaning{"Reason of bad_request", word, fmt.Sprintf("%s: %s.", strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]))})
	}
	if len(found) > 0 {
		return output.print(out, found, func(w io.Writer) {
			for i, m := range found {
				if i > 0 {
					fmt.Fprintln(w)
				}
				fmt.Fprintf(w, "%s %s\n\n%s\n", m.Kind, m.Word, m.Text)
			}
		})
	}
	if strings.ContainsAny(word, "./:") {
		return usageError{errors.New("say who sends the request, with --pid, or --exe and --user; lanyard check URL looks at the destination alone")}
	}
	var known []string
	for _, s := range docs.Sections() {
		if !slices.Contains(known, s.Word) {
			known = append(known, s.Word)
		}
	}
	return usageError{fmt.Errorf("%q is no word of Lanyard's; there are %s", word, strings.Join(known, ", "))}
}
