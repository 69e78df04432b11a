package docs

import (
	_ "embed"
	"slices"
	"strings"
)

//go:embed troubleshooting.md
var troubleshooting string

// Section is one about a word.
type Section struct {
	Kind string // what sort of word it is: Outcome, Readiness, Token
	Word string
	Text string // Markdown, without the heading
}

// Sections lists the sections about words of docs/troubleshooting.md, in its order.
func Sections() []Section {
	var all []Section
	for _, part := range strings.Split("\n"+troubleshooting, "\n### ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		kind, word, ok := strings.Cut(heading, " `")
		if ok {
			all = append(all, Section{Kind: kind, Word: strings.TrimSuffix(word, "`"), Text: strings.TrimSpace(text)})
		}
	}
	return all
}

// About returns the sections about a word.
func About(word string) []Section {
	return slices.DeleteFunc(Sections(), func(s Section) bool { return s.Word != word })
}

// BadRequest returns the line of the table of bad_request for a reason, or "".
func BadRequest(reason string) string {
	for _, s := range About("bad_request") {
		for line := range strings.Lines(s.Text) {
			if first, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.Contains(first, "`"+reason+"`") {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
