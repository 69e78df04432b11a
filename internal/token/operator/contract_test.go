package operator_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// served is a real authority, over real HTTP, whose clock is off by so much.
type served struct {
	*authority.Authority
	url   string
	admin *admin.Client
	stop  func()
	lose  atomic.Pointer[string] // path whose next answer gets lost, or nil
}

func serve(t *testing.T, offset time.Duration, change ...func(*authority.Config)) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	config := authority.Config{DataDir: t.TempDir(), URL: url, Now: func() time.Time { return time.Now().Add(offset) }}
	for _, c := range change {
		c(&config)
	}
	a, err := authority.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{Authority: a, url: url}
	server, done := &http.Server{Handler: s}, make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	s.stop = sync.OnceFunc(func() {
		_ = server.Close()
		<-done
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	if s.admin, err = admin.New(admin.Config{URL: url, TokenFile: a.AdminTokenFile()}); err != nil {
		t.Fatal(err)
	}
	return s
}

// ServeHTTP has the authority answer, and loses the answer if that is asked for.
func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Handler().ServeHTTP(w, r)
	if path := s.lose.Load(); path != nil && strings.HasSuffix(r.URL.Path, *path) {
		s.lose.Store(nil)
		panic(http.ErrAbortHandler) // it is still in the buffer
	}
}

// client makes a ticket and a client that is to enrol with it.
func (s *served) client(t *testing.T, spec resource.TicketSpec) (*operator.Client, resource.Ticket) {
	t.Helper()
	made, err := s.admin.CreateTicket(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return s.clientIn(t, t.TempDir(), made), made
}

// clientIn makes a client of the ticket in this folder.
func (s *served) clientIn(t *testing.T, dir string, made resource.Ticket) *operator.Client {
	t.Helper()
	file := filepath.Join(dir, "ticket")
	if err := os.WriteFile(file, []byte(made.Ticket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := operator.New(operator.Config{
		Base: s.OperatorBase(), StateDir: filepath.Join(dir, "state"), TicketFile: file,
		Environment: map[string]string{"hostname": "web-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var ledger = token.Request{Identity: "billing", Audience: "https://ledger.internal"}

func TestContract(t *testing.T) {
	for _, offset := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
		t.Run(fmt.Sprintf("clock off by %v", offset), func(t *testing.T) {
			s := serve(t, offset)
			c, made := s.client(t, resource.TicketSpec{Description: "contract", MaxUses: 1, Tags: []string{"eyes"}})
			tok, err := c.Fetch(t.Context(), ledger)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(tok.Expires()); (left - time.Hour).Abs() > 10*time.Second {
				t.Errorf("by this host's clock it expires in %v, want an hour", left)
			}
			keys, err := jwk.Fetch(t.Context(), s.OperatorBase()+"/.well-known/jwks.json")
			if err != nil {
				t.Fatal(err)
			}
			claims, err := jwt.Parse([]byte(tok.Reveal()), jwt.WithKeySet(keys), jwt.WithAudience(ledger.Audience),
				jwt.WithIssuer(s.OperatorID()), jwt.WithSubject(c.WorkloadID()),
				jwt.WithClock(jwt.ClockFunc(func() time.Time { return time.Now().Add(offset) })), jwt.WithAcceptableSkew(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if claims.JwtID() != tok.ID() || len(claims.Audience()) != 1 {
				t.Errorf("token has jti %q and audiences %v; the client says %q", claims.JwtID(), claims.Audience(), tok.ID())
			}
			if none, err := c.Fetch(t.Context(), token.Request{Identity: "billing"}); err != nil || none.ID() == tok.ID() {
				t.Errorf("without audience: %q, %v", none.ID(), err)
			}

			if _, err := s.admin.DeactivateTicket(t.Context(), made.Name); err != nil {
				t.Fatal(err)
			}
			_, err = c.Fetch(t.Context(), ledger)
			var refused *token.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(refused.Message, "deactivated") {
				t.Errorf("after its ticket was deactivated: %v", err)
			}
		})
	}
}

// TestContractIssuer: an authority with an issuer URL, below which its base lies or not.
func TestContractIssuer(t *testing.T) {
	for _, k := range []struct {
		issuer func(url string) string
		right  bool
	}{
		{func(url string) string { return url }, true},
		{func(url string) string { return url + "/" }, true},
		{func(string) string { return "https://issuer.example" }, false},
	} {
		s := serve(t, 0, func(c *authority.Config) { c.Issuer = k.issuer(c.URL) })
		c, _ := s.client(t, resource.TicketSpec{})
		_, err := c.Fetch(t.Context(), ledger)
		if k.right != (err == nil) || !k.right && (!errors.Is(err, token.ErrWrongToken) || !strings.Contains(err.Error(), "LANYARD_ISSUER")) {
			t.Errorf("issuer %s: %v", s.Issuer(), err)
		}
	}
}

func TestContractRefusals(t *testing.T) {
	s := serve(t, 0)
	soon := time.Now().Add(time.Hour)
	deactivated, made := s.client(t, resource.TicketSpec{ExpiresAt: &soon})
	if _, err := s.admin.DeactivateTicket(t.Context(), made.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := deactivated.Fetch(t.Context(), ledger); !errors.Is(err, token.ErrNotEnrolled) || strings.Contains(err.Error(), made.Ticket) {
		t.Errorf("deactivated ticket: %v", err)
	}
	narrow, _ := s.client(t, resource.TicketSpec{Audiences: []string{"https://other.internal"}})
	var refused *token.RefusedError
	if _, err := narrow.Fetch(t.Context(), ledger); !errors.As(err, &refused) || !strings.Contains(refused.Message, "audience") {
		t.Errorf("audience that the ticket does not allow: %v", err)
	}
}
