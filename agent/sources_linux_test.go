package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/test/certificates"
)

// served is a real authority that speaks TLS.
type served struct {
	*authority.Authority
	caFile string
	admin  *admin.Client
}

func serveAuthority(t *testing.T) *served {
	t.Helper()
	pair, err := certificates.New(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &served{caFile: filepath.Join(dir, "tls.crt")}
	key := filepath.Join(dir, "tls.key")
	if err := pair.Write(s.caFile, key); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + listener.Addr().String()
	s.Authority, err = authority.New(authority.Config{DataDir: filepath.Join(dir, "data"), URL: url, TLSCertFile: s.caFile, TLSKeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	if s.admin, err = admin.New(admin.Config{URL: url, TokenFile: s.AdminTokenFile(), CAFile: s.caFile}); err != nil {
		t.Fatal(err)
	}
	return s
}

// ticketFile makes a ticket and writes it to a file.
func (s *served) ticketFile(t *testing.T) string {
	t.Helper()
	made, err := s.admin.CreateTicket(t.Context(), resource.TicketSpec{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ticket")
	if err := os.WriteFile(file, []byte(made.Ticket), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sources are those of an agent with these settings, which has one identity.
func sources(t *testing.T, settings Settings, ticketFile string) sourceSet {
	t.Helper()
	a := &Agent{settings: settings, log: slog.New(slog.DiscardHandler)}
	made, err := nextSources(nil, a.sourceSettings(&Config{Operators: map[string]OperatorSource{"one": {TicketFile: ticketFile}}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.closeDropped(nil); err != nil {
			t.Error(err)
		}
	})
	return made
}

func TestSourcesTrustTheCAFile(t *testing.T) {
	s := serveAuthority(t)
	settings := Settings{OperatorBase: s.OperatorBase(), StateDir: t.TempDir()}
	ask := func() error {
		_, err := sources(t, settings, s.ticketFile(t))["one"].client.Fetch(t.Context(), token.Request{Identity: "one"})
		return err
	}
	if err := ask(); !errors.Is(err, token.ErrUnreachable) {
		t.Errorf("without LANYARD_CA_FILE: %v", err)
	}
	settings.CAFile, settings.StateDir = s.caFile, t.TempDir()
	if err := ask(); err != nil {
		t.Errorf("with LANYARD_CA_FILE: %v", err)
	}
}

// TestMayBeEnrolled, by what is in the state folder.
func TestMayBeEnrolled(t *testing.T) {
	dir := t.TempDir()
	if MayBeEnrolled(dir, "billing") {
		t.Error("enrolled in an empty folder")
	}
	folder := identityDir(dir, "billing")
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "enrolment.json"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if !MayBeEnrolled(dir, "billing") || MayBeEnrolled(dir, "other") {
		t.Error("an enrolment is not seen, or is another's")
	}
}
