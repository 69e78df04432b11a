package operator

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/token"
)

var request = token.Request{Identity: "billing", Audience: "https://ledger.internal"}

// configure returns a configuration for this authority, with a fresh state folder
// and the good ticket.
func configure(t *testing.T, a *authority) Config {
	t.Helper()
	dir := t.TempDir()
	config := Config{Base: a.base, StateDir: filepath.Join(dir, "billing"), TicketFile: filepath.Join(dir, "ticket")}
	writeFile(t, config.TicketFile, goodTicket+"\n")
	return config
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newClient(t *testing.T, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func fetch(t *testing.T, c *Client) token.Token {
	t.Helper()
	tok, err := c.Fetch(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// wantError checks an error's class and words, and that it holds no ticket.
func wantError(t *testing.T, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("error %v, want %v", err, class)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), goodTicket) {
		t.Errorf("error %q holds the ticket", err)
	}
}

func TestEnrolAndFetch(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.Environment = map[string]string{"hostname": "web-1"}
	c := newClient(t, config)
	if id := c.WorkloadID(); id != "" {
		t.Errorf("workload id %q before enrolment", id)
	}
	before := time.Now().Truncate(time.Second)
	tok := fetch(t, c)
	if left := tok.Expires().Sub(before); left < time.Hour || left > time.Hour+10*time.Second {
		t.Errorf("expires %v after it was asked for, want an hour", left)
	}
	if !strings.HasPrefix(tok.ID(), "jwt1:") || strings.Count(tok.Reveal(), ".") != 2 {
		t.Errorf("token has id %q", tok.ID())
	}
	if c.WorkloadID() != fmt.Sprintf("pr1:%024d", 1) {
		t.Errorf("workload id %q", c.WorkloadID())
	}
	last := a.last()
	if got := string(last.body["audience"]); got != `["https://ledger.internal"]` {
		t.Errorf("asked for audience %s", got)
	}
	if _, there := last.body["ttl_seconds"]; there {
		t.Error("asked for a life that nobody configured")
	}
	if got := string(a.requests[0].body["environment"]); got != `{"hostname":"web-1"}` {
		t.Errorf("told environment %s", got)
	}

	if _, err := c.Fetch(t.Context(), token.Request{Identity: "billing"}); err != nil {
		t.Fatal(err)
	}
	if got, there := a.last().body["audience"]; there {
		t.Errorf("asked for audience %s, want none", got)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

func TestLifeAskedFor(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.TTL = 90 * time.Second
	tok := fetch(t, newClient(t, config))
	if life := tok.Expires().Sub(tok.Issued()); life != 90*time.Second {
		t.Errorf("life %v", life)
	}
}

func TestEnrolmentLasts(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	fetch(t, first)
	id := first.WorkloadID()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Fetch(t.Context(), request); err == nil {
		t.Error("a closed client fetched")
	}
	if err := os.Remove(config.TicketFile); err != nil {
		t.Fatal(err)
	}
	second := newClient(t, config)
	fetch(t, second)
	if second.WorkloadID() != id || a.count(registerPath) != 1 {
		t.Errorf("workload %s after %d registrations, want %s after 1", second.WorkloadID(), a.count(registerPath), id)
	}
}

func TestManyCallersEnrolOnce(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := c.Fetch(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

func TestBadTickets(t *testing.T) {
	cases := map[string]struct {
		content string
		change  func(*ticket)
		words   []string
	}{
		"wrong":       {"tkt-unknown", nil, []string{"wrong, expired, used up, closed or deactivated"}},
		"expired":     {goodTicket, func(k *ticket) { k.expired = true }, []string{"expired"}},
		"used up":     {goodTicket, func(k *ticket) { k.uses = 0 }, []string{"used up"}},
		"deactivated": {goodTicket, func(k *ticket) { k.deactivated = true }, []string{"deactivated"}},
		"empty":       {" \n", nil, []string{"empty"}},
		"two lines":   {goodTicket + "\n" + goodTicket, nil, []string{"one ticket on one line"}},
		"too large":   {strings.Repeat("x", privatefile.MaxBytes+1), nil, []string{"longer than"}},
		"enormous":    {strings.Repeat("x", 1<<20), nil, []string{"longer than"}},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			writeFile(t, config.TicketFile, k.content)
			if k.change != nil {
				k.change(a.tickets[goodTicket])
			}
			c := newClient(t, config)
			_, err := c.Fetch(t.Context(), request)
			wantError(t, err, token.ErrNotEnrolled, append(k.words, config.TicketFile)...)
			if c.WorkloadID() != "" {
				t.Error("has a workload id")
			}
		})
	}
}

func TestTicketThatComesLater(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	if err := os.Remove(config.TicketFile); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, config)
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, config.TicketFile, "lanyard ticket create")
	if len(a.requests) != 0 {
		t.Error("asked the authority without a ticket")
	}
	writeFile(t, config.TicketFile, goodTicket)
	fetch(t, c)
}

func TestRefusedEnrolmentIsNotRepeatedAtOnce(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	now := time.Now()
	config.Now = func() time.Time { return now }
	a.tickets[goodTicket].deactivated = true
	c := newClient(t, config)
	for range 20 {
		_, err := c.Enrol(t.Context())
		wantError(t, err, token.ErrNotEnrolled)
	}
	if n := a.count(registerPath); n != 1 {
		t.Errorf("registered %d times", n)
	}
	a.set(func() { a.tickets[goodTicket].deactivated = false })
	now = now.Add(refusalPause)
	if _, err := c.Enrol(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEchoedTicketIsKeptOut(t *testing.T) {
	a := startAuthority(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"code":401,"message":"no such ticket %s\u0007"}`, goodTicket)
		return true
	}
	_, err := newClient(t, configure(t, a)).Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, "no such ticket (ticket)?")
}

func TestDeactivatedAfterEnrolment(t *testing.T) {
	a := startAuthority(t)
	c := newClient(t, configure(t, a))
	fetch(t, c)
	a.set(func() { a.tickets[goodTicket].deactivated = true })
	_, err := c.Fetch(t.Context(), request)
	var refused *token.RefusedError
	if !errors.As(err, &refused) || refused.Message != "ticket tk1:1 is deactivated" {
		t.Errorf("error %v, want the control's message", err)
	}
}

func TestForgottenWorkload(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	a.set(func() { clear(a.workloads) })
	_, err := c.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, c.WorkloadID(), config.StateDir)
}
