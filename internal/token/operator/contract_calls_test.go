package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// apply makes a resource what the spec says.
func (s *served) apply(t *testing.T, kind, name string, spec any) {
	t.Helper()
	info, known := resource.FindKind(kind)
	data, err := json.Marshal(spec)
	if !known || err != nil {
		t.Fatalf("kind %s: %v, %v", kind, known, err)
	}
	declaration := resource.Declaration[json.RawMessage]{Kind: kind, Name: name, Spec: data}
	if _, _, err := s.admin.Apply(t.Context(), info, declaration); err != nil {
		t.Fatal(err)
	}
}

func (s *served) remove(t *testing.T, kind, name string) {
	t.Helper()
	info, _ := resource.FindKind(kind)
	if err := s.admin.Delete(t.Context(), info, name); err != nil {
		t.Fatal(err)
	}
}

// enrolled is a client that has enrolled, in a folder of its own.
type enrolled struct {
	*operator.Client
	dir    string
	ticket resource.Ticket
}

func (s *served) enrolled(t *testing.T, spec resource.TicketSpec) enrolled {
	t.Helper()
	made, err := s.admin.CreateTicket(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	e := enrolled{dir: t.TempDir(), ticket: made}
	e.Client = s.clientIn(t, e.dir, made)
	if _, err := e.Enrol(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// again is the same workload after a restart.
func (e enrolled) again(t *testing.T, s *served) enrolled {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.Client = s.clientIn(t, e.dir, e.ticket)
	return e
}

// copied is the same workload in another folder.
func (e enrolled) copied(t *testing.T, s *served) enrolled {
	t.Helper()
	other := enrolled{dir: t.TempDir(), ticket: e.ticket}
	for _, name := range []string{"key.pem", "enrolment.json"} {
		text, err := os.ReadFile(filepath.Join(e.dir, "state", name))
		if err == nil {
			err = os.MkdirAll(filepath.Join(other.dir, "state"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(other.dir, "state", name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other.Client = s.clientIn(t, other.dir, e.ticket)
	return other
}

// call is one of the calls of which this file is the contract.
type call func(ctx context.Context, c *operator.Client) error

func calls() map[string]call {
	return map[string]call{
		"token":  func(ctx context.Context, c *operator.Client) error { _, err := c.Fetch(ctx, ledger); return err },
		"secret": func(ctx context.Context, c *operator.Client) error { _, err := c.Secret(ctx, "open", true); return err },
		"invite": func(ctx context.Context, c *operator.Client) error { _, err := c.Invite(ctx, "ci"); return err },
		"key":    func(ctx context.Context, c *operator.Client) error { _, err := c.RenewKey(ctx, 0); return err },
	}
}

// prove uses the key, so that it may be renewed.
func prove(t *testing.T, e enrolled) {
	t.Helper()
	if _, err := e.Fetch(t.Context(), ledger); err != nil {
		t.Fatal(err)
	}
}

// orchestrator serves a client for which every call works: it may use the factory
// ci and read the secret open.
func orchestrator(t *testing.T, s *served, spec resource.TicketSpec) enrolled {
	t.Helper()
	spec.Role = resource.RoleOrchestrator
	e := s.enrolled(t, spec)
	content := "hunter2"
	s.apply(t, resource.KindSecret, "open", resource.SecretSpec{Content: &content})
	s.apply(t, resource.KindTicketFactory, "ci", resource.TicketFactorySpec{Orchestrators: []string{e.ticket.Name}})
	return e
}

// TestContractControls: each control refuses each call, and is named.
func TestContractControls(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	var ahead atomic.Int64 // of the authority's clock
	for control, refuse := range map[string]func(t *testing.T, s *served, e enrolled){
		"status": func(t *testing.T, s *served, e enrolled) {
			s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Role: resource.RoleOrchestrator, Status: resource.StatusDeactivated})
		},
		"expires_at": func(t *testing.T, s *served, e enrolled) {
			s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Role: resource.RoleOrchestrator, ExpiresAt: &past})
		},
		"workload_ttl": func(t *testing.T, s *served, e enrolled) {
			s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Role: resource.RoleOrchestrator, WorkloadTTL: "1h"})
			ahead.Store(int64(time.Hour))
		},
		"networks": func(t *testing.T, s *served, e enrolled) {
			s.apply(t, resource.KindNetworkList, "office", resource.NetworkListSpec{CIDRs: []string{"192.0.2.0/24"}})
			s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Role: resource.RoleOrchestrator, Networks: []string{"office"}})
		},
		"workload_status": func(t *testing.T, s *served, e enrolled) {
			s.apply(t, resource.KindWorkload, e.WorkloadID(), resource.WorkloadSpec{Status: resource.StatusDeactivated})
		},
	} {
		t.Run(control, func(t *testing.T) {
			ahead.Store(0)
			s := serve(t, 0, func(c *authority.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			})
			e := orchestrator(t, s, resource.TicketSpec{})
			for name, call := range calls() {
				if err := call(t.Context(), e.Client); err != nil {
					t.Fatalf("%s, before: %v", name, err)
				}
			}
			prove(t, e)
			refuse(t, s, e)
			for name, call := range calls() {
				var refused *token.RefusedError
				if err := call(t.Context(), e.Client); !errors.As(err, &refused) || !strings.Contains(refused.Message, "control "+control) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := e.Secret(t.Context(), "open", false); err == nil {
				t.Error("a secret is served from memory although the authority refuses it")
			}
		})
	}
}

// TestContractOfAStranger: a workload whose key the authority does not have (any
// more) is told what may have happened.
func TestContractOfAStranger(t *testing.T) {
	s := serve(t, 0)
	e := orchestrator(t, s, resource.TicketSpec{})
	other := e.copied(t, s)
	if renewed, err := e.RenewKey(t.Context(), 0); !renewed || err != nil {
		t.Fatalf("renewed %v, %v", renewed, err)
	}
	for name, call := range calls() {
		if err := call(t.Context(), other.Client); !errors.Is(err, token.ErrNotEnrolled) || !strings.Contains(err.Error(), "a copy of") {
			t.Errorf("%s: %v", name, err)
		}
		if err := call(t.Context(), e.Client); err != nil {
			t.Errorf("%s of the one that renewed: %v", name, err)
		}
	}
}

// TestContractOfABusyAuthority: beyond its rate a workload waits as long as it is
// told, and is served again.
func TestContractOfABusyAuthority(t *testing.T) {
	s := serve(t, 0, func(c *authority.Config) { c.WorkloadRatePerSecond, c.WorkloadRateBurst = 1, 2 })
	e := orchestrator(t, s, resource.TicketSpec{})
	var busy *token.BusyError
	for range 3 {
		if _, err := e.Fetch(t.Context(), ledger); err != nil && !errors.As(err, &busy) {
			t.Fatal(err)
		}
	}
	if busy == nil {
		t.Fatal("three requests at once are let in where two are allowed")
	}
	for name, call := range calls() {
		var same *token.BusyError
		if err := call(t.Context(), e.Client); !errors.As(err, &same) || !same.Until.Equal(busy.Until) {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case <-time.After(time.Until(busy.Until)):
	case <-t.Context().Done():
	}
	if _, err := e.Fetch(t.Context(), ledger); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestContractOfALostAnswer, and of an authority that is gone.
func TestContractOfALostAnswer(t *testing.T) {
	s := serve(t, 0)
	e := orchestrator(t, s, resource.TicketSpec{})
	for path, name := range map[string]string{"/id_token": "token", "/secret/open": "secret", "/invite": "invite", "/key": "key"} {
		s.lose.Store(&path)
		if err := calls()[name](t.Context(), e.Client); !errors.Is(err, token.ErrUnreachable) {
			t.Errorf("%s, answer lost: %v", name, err)
		}
		if err := calls()[name](t.Context(), e.Client); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
	prove(t, e)
	s.stop()
	for name, call := range calls() {
		if err := call(t.Context(), e.Client); !errors.Is(err, token.ErrUnreachable) {
			t.Errorf("%s, authority gone: %v", name, err)
		}
	}
}

func TestContractOfSecrets(t *testing.T) {
	s := serve(t, 0)
	e := s.enrolled(t, resource.TicketSpec{Tags: []string{"billing"}})
	soon, content := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond), "correct \"horse\"\nbattery ✓"
	s.apply(t, resource.KindSecret, "ledger", resource.SecretSpec{Description: "of the ledger", Content: &content, Tags: []string{"billing"}, ExpiresAt: &soon})
	s.apply(t, resource.KindSecret, "open", resource.SecretSpec{Content: &content})
	s.apply(t, resource.KindSecret, "others", resource.SecretSpec{Content: &content, Tags: []string{"billing", "payroll"}})

	got, err := e.Secret(t.Context(), "ledger", false)
	if err != nil || got.Reveal() != content || got.Description != "of the ledger" || !got.ExpiresAt.Equal(soon) || time.Since(got.CreatedAt).Abs() > time.Minute {
		t.Errorf("got %v of %s until %s (%q), %v", got, got.CreatedAt, got.ExpiresAt, got.Description, err)
	}
	if got, err := e.Secret(t.Context(), "open", false); err != nil || got.Reveal() != content || !got.ExpiresAt.IsZero() {
		t.Errorf("without expiry: %v until %s, %v", got, got.ExpiresAt, err)
	}
	for _, id := range []string{"none", "others", "Not A Name", "a/b", "..", "sec1:0123456789abcdefghjkmnpq", strings.Repeat("x", 100)} {
		if _, err := e.Secret(t.Context(), id, false); !errors.Is(err, operator.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}

	next := "another"
	s.apply(t, resource.KindSecret, "ledger", resource.SecretSpec{Content: &next, Tags: []string{"billing"}})
	if got, err := e.Secret(t.Context(), "ledger", false); err != nil || got.Reveal() != content {
		t.Errorf("from memory: %v, %v", got, err)
	}
	if got, err := e.Secret(t.Context(), "ledger", true); err != nil || got.Reveal() != next {
		t.Errorf("refreshed: %v, %v", got, err)
	}
	for what, change := range map[string]func(){
		"expired": func() {
			past := time.Now().Add(-time.Second)
			s.apply(t, resource.KindSecret, "ledger", resource.SecretSpec{Tags: []string{"billing"}, ExpiresAt: &past})
		},
		"tag taken":      func() { s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Tags: []string{"x"}}) },
		"secret removed": func() { s.remove(t, resource.KindSecret, "ledger") },
	} {
		s.apply(t, resource.KindTicket, e.ticket.Name, resource.TicketSpec{Tags: []string{"billing"}})
		s.apply(t, resource.KindSecret, "ledger", resource.SecretSpec{Content: &next, Tags: []string{"billing"}})
		if _, err := e.Secret(t.Context(), "ledger", true); err != nil {
			t.Fatalf("%s, before: %v", what, err)
		}
		change()
		for _, refresh := range []bool{true, false} { // the refusal ends what is in memory
			if _, err := e.Secret(t.Context(), "ledger", refresh); !errors.Is(err, operator.ErrNotFound) {
				t.Errorf("%s, refresh %v: %v", what, refresh, err)
			}
		}
	}
}

func TestContractOfInvites(t *testing.T) {
	s := serve(t, 0)
	e := orchestrator(t, s, resource.TicketSpec{})
	minted, err := e.Invite(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	invited := s.clientIn(t, t.TempDir(), resource.Ticket{Ticket: minted})
	if _, err := invited.Fetch(t.Context(), ledger); err != nil || invited.WorkloadID() == e.WorkloadID() {
		t.Errorf("who was invited is workload %q: %v", invited.WorkloadID(), err)
	}

	var refused *token.RefusedError
	s.apply(t, resource.KindTicketFactory, "of-others", resource.TicketFactorySpec{})
	if _, err := s.enrolled(t, resource.TicketSpec{}).Invite(t.Context(), "ci"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "control role") {
		t.Errorf("no orchestrator: %v", err)
	}
	for _, factory := range []string{"none", "of-others"} {
		if _, err := e.Invite(t.Context(), factory); !errors.Is(err, operator.ErrNotFound) {
			t.Errorf("factory %s: %v", factory, err)
		}
	}
	for _, factory := range []string{"", "Not A Name", strings.Repeat("x", 100)} {
		var invalid *operator.InvalidError
		if _, err := e.Invite(t.Context(), factory); !errors.As(err, &invalid) || !strings.Contains(invalid.Message, "ticket_factory_id") {
			t.Errorf("factory %q: %v", factory, err)
		}
	}
	if _, err := e.Invite(t.Context(), strings.Repeat("x", 5<<10)); err == nil || errors.Is(err, token.ErrUnreachable) || !strings.Contains(err.Error(), "413") {
		t.Errorf("a name longer than a body may be: %v", err)
	}
	s.apply(t, resource.KindTicketFactory, "ci", resource.TicketFactorySpec{Orchestrators: []string{e.ticket.Name}, Status: resource.StatusDeactivated})
	if _, err := e.Invite(t.Context(), "ci"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "status") {
		t.Errorf("a factory that was deactivated: %v", err)
	}
}

// keyOf returns the thumbprint of the key that the authority has of a workload.
func (s *served) keyOf(t *testing.T, c *operator.Client) string {
	t.Helper()
	w, err := s.admin.Workload(t.Context(), c.WorkloadID())
	if err != nil {
		t.Fatal(err)
	}
	return w.Status.KeyThumbprint
}

// TestContractOfRenewals: whatever becomes of a renewal, the workload goes on, also
// after a restart.
func TestContractOfRenewals(t *testing.T) {
	s := serve(t, 0)
	lost := "/key"
	for name, tt := range map[string]struct {
		before  func(e enrolled)
		maxAge  time.Duration
		renewed bool
		failure func(error) bool
		changed bool // the authority has another key
	}{
		"not due": {maxAge: time.Hour},
		"due":     {renewed: true, changed: true},
		"answer lost": {
			before: func(enrolled) { s.lose.Store(&lost) }, changed: true,
			failure: func(err error) bool { return errors.Is(err, token.ErrUnreachable) },
		},
		"refused": {
			before: func(e enrolled) {
				s.apply(t, resource.KindWorkload, e.WorkloadID(), resource.WorkloadSpec{Status: resource.StatusDeactivated})
			},
			failure: func(err error) bool { return errors.As(err, new(*token.RefusedError)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := s.enrolled(t, resource.TicketSpec{})
			if tt.before != nil {
				tt.before(e)
			}
			first := s.keyOf(t, e.Client)
			renewed, err := e.RenewKey(t.Context(), tt.maxAge)
			if renewed != tt.renewed || (err != nil) != (tt.failure != nil) || err != nil && !tt.failure(err) {
				t.Errorf("renewed %v, %v", renewed, err)
			}
			if changed := s.keyOf(t, e.Client) != first; changed != tt.changed {
				t.Errorf("the authority has another key: %v, want %v", changed, tt.changed)
			}
			id := e.WorkloadID()
			s.apply(t, resource.KindWorkload, id, resource.WorkloadSpec{})
			for _, when := range []string{"afterwards", "after a restart", "after another"} {
				if _, err := e.Fetch(t.Context(), ledger); err != nil || e.WorkloadID() != id {
					t.Errorf("%s: %v, as %s", when, err, e.WorkloadID())
				}
				if renewed, err := e.RenewKey(t.Context(), 0); err != nil || !renewed {
					t.Errorf("%s, renewing: %v, %v", when, renewed, err)
				}
				e = e.again(t, s)
			}
		})
	}
}
