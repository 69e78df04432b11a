package agent

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
)

// mostParsing is how long the parser may take: a thousand times what it takes.
const mostParsing = 5 * time.Second

// FuzzConfig holds that a configuration is valid as a whole or refused as a whole,
// soon, and each time alike; that whatever is wrong is said in one line,
// with its place in the file; and that no ticket is quoted.
func FuzzConfig(f *testing.F) {
	f.Add(fullConfig)
	f.Add(minimal)
	f.Add(strings.ReplaceAll(fullConfig, "ticket_file: /", "ticket_file: "))
	f.Add("identities: &a [*a]\n")
	f.Add("a: |\n  b\n--- !x\n%YAML 1.2\n")
	f.Add("identities:\n- na\x00\x1b[2Jme: c\n")
	f.Add("identities: [{name: 1.0e5, match: {user: ~}}]")
	f.Add("identities:\n- name: lyt_abc\n  source: {operator: {ticket_file: lyt_4Jk2}}\n")
	f.Add("destinations:\n- name: a\n  hosts: [\"*.b\", 'c', d]\n  ports: [0x50, 99999999999999999999]\n  addresses: 10.0.0.0/8\n")
	f.Fuzz(func(t *testing.T, content string) {
		began := time.Now()
		c, warnings, err := ParseConfig("f", []byte(content), testHost)
		if took := time.Since(began); took > mostParsing {
			t.Fatalf("took %v", took)
		}
		again, _, errAgain := ParseConfig("f", []byte(content), testHost)
		if (err == nil) != (errAgain == nil) { // of two unknown keys, either may be named
			t.Fatalf("first %v, then %v", err, errAgain)
		}
		if err == nil {
			checkConfig(t, c, again)
			for _, w := range warnings {
				checkSaid(t, content, w.Place, w.Reason)
			}
			return
		}
		var wrong ConfigErrors
		if c != nil || warnings != nil || !errors.As(err, &wrong) || len(wrong) == 0 {
			t.Fatalf("a configuration in part, or an error that says nothing: %v", err)
		}
		for _, one := range wrong {
			checkSaid(t, content, one.Place, one.Reason)
		}
	})
}

func checkConfig(t *testing.T, c, again *Config) {
	t.Helper()
	if c.Policy == nil || len(c.Operators) != len(again.Operators) {
		t.Fatalf("configuration %+v", c)
	}
	for name, source := range c.Operators {
		if name == "" || !strings.HasPrefix(source.TicketFile, "/") {
			t.Fatalf("source of %q: %+v", name, source)
		}
	}
}

func checkSaid(t *testing.T, content string, at Place, reason string) {
	t.Helper()
	lines := 1 + strings.Count(content, "\n") + strings.Count(content, "\r")
	if at.Line < 0 || at.Line > lines+1 || at.Line == 0 && at.Column != 0 || at.Column < 0 {
		t.Fatalf("place %+v in a file of %d lines (%s)", at, lines, reason)
	}
	if reason == "" || strings.ContainsFunc(reason, unicode.IsControl) || ticketText.MatchString(reason) {
		t.Fatalf("reason %q", reason)
	}
}
