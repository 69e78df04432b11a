package serverurl

import "strings"

// MaxWords bounds how much of a server's words Printable keeps, in bytes.
const MaxWords = 300

// Printable makes a text of a server's making fit for a line of a log: net/http quotes
// what it cannot read in its errors, at any length.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text[:min(len(text), MaxWords)])
}
