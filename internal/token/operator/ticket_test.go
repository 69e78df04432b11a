package operator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
)

// configureTicket is configure with the ticket itself, or none for "".
func configureTicket(t *testing.T, a *authority, secret string) Config {
	t.Helper()
	config := Config{Base: a.base, StateDir: filepath.Join(t.TempDir(), "state")}
	if secret != "" {
		ticket, err := NewTicket(secret)
		if err != nil {
			t.Fatal(err)
		}
		config.Ticket = ticket
	}
	return config
}

// TestGivenTicket: the first run needs it, later ones do without, with the same,
// and not with another.
func TestGivenTicket(t *testing.T) {
	a := startAuthority(t)
	config := configureTicket(t, a, "")
	enrol := func(secret string) (Enrolment, error) {
		next := configureTicket(t, a, secret)
		next.StateDir = config.StateDir
		c := newClient(t, next)
		e, err := c.Enrol(t.Context())
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		return e, err
	}
	_, err := enrol("")
	wantError(t, err, ErrNoTicket, config.StateDir)
	wantError(t, err, token.ErrNotEnrolled)
	first, err := enrol(goodTicket)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"", goodTicket} {
		if again, err := enrol(secret); err != nil || again != first {
			t.Errorf("again: %+v, %v; want %+v", again, err, first)
		}
	}
	_, err = enrol("another-ticket")
	wantError(t, err, ErrOtherTicket, config.StateDir, first.WorkloadID)
	if strings.Contains(err.Error(), "another-ticket") {
		t.Errorf("error %q holds the ticket", err)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
	content, err := os.ReadFile(filepath.Join(config.StateDir, enrolmentFile))
	if err != nil || strings.Contains(string(content), goodTicket) {
		t.Errorf("enrolment %s, %v", content, err)
	}
}

func TestTicketNeverPrints(t *testing.T) {
	a := startAuthority(t)
	config := configureTicket(t, a, goodTicket)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, config) + fmt.Sprintf(verb, &config.Ticket); strings.Contains(text, goodTicket) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	a.set(func() { a.tickets[goodTicket].deactivated = true })
	_, err := newClient(t, config).Enrol(t.Context())
	wantError(t, err, token.ErrNotEnrolled, "the ticket may be wrong")
	for _, secret := range []string{"", "two words", "line\n", "h\x00"} {
		if _, err := NewTicket(secret); err == nil || secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}
