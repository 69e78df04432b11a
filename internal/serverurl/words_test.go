package serverurl

import (
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"x509: certificate has expired": "x509: certificate has expired",
		"a\r\nb\x1b[31m\x00\x7fä":       "a??b?[31m???",
		strings.Repeat("a", 299) + "äb": strings.Repeat("a", 299) + "?", // cut within a character
		strings.Repeat("a", 1<<20):      strings.Repeat("a", MaxWords),
	} {
		if got := Printable(text); got != want {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}
