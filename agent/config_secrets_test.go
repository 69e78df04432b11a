package agent

import (
	"strings"
	"testing"
)

// TestConfigErrorsQuoteNoTicket: a ticket written where a file's name belongs is
// an error that can be shown to anybody.
func TestConfigErrorsQuoteNoTicket(t *testing.T) {
	const ticket = "lyt_0123456789abcdefghjkmnpqrstvwxyz"
	for name, source := range map[string]string{
		"as the file":      "{operator: {ticket_file: " + ticket + "}}",
		"quoted":           `{operator: {ticket_file: "` + ticket + `"}}`,
		"as another key":   "{operator: {ticket: " + ticket + "}}",
		"in a list":        "{operator: {ticket_file: [" + ticket + "]}}",
		"as the source":    ticket,
		"as the operator":  "{operator: " + ticket + "}",
		"as a key":         "{operator: {" + ticket + ": x}}",
		"broken":           "{operator: {ticket_file: " + ticket + "}",
		"broken quotes":    `{operator: {ticket_file: "` + ticket + "}}",
		"not a mark":       "{operator: {allow_insecure: " + ticket + "}}",
		"twice":            "{operator: {ticket_file: " + ticket + ", ticket_file: " + ticket + "}}",
		"broken, in lines": "\n      operator:\n        ticket_file: " + ticket + "\n       x: [",
	} {
		t.Run(name, func(t *testing.T) {
			text := "identities:\n  - name: billing\n    match: {exe: /usr/bin/billing, user: root}\n    source: " + source + "\n"
			_, _, err := ParseConfig("agent.yaml", []byte(text), testHost)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), ticket[4:]) {
				t.Errorf("error quotes the ticket: %v", err)
			}
		})
	}
}
