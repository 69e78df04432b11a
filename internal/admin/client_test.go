package admin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority"
	"github.com/lanyardhq/lanyard/internal/authority/openapi/openapitest"
	"github.com/lanyardhq/lanyard/internal/serverurl/serverurltest"
)

// startAuthority serves a real authority and returns a client of it, which is held to
// the authority's OpenAPI document.
func startAuthority(t *testing.T) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	a, err := authority.New(authority.Config{DataDir: filepath.Join(t.TempDir(), "data"), URL: url, RatePerSecond: 1e6, RateBurst: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: a.Handler()}}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	client := newClient(t, Config{URL: url, TokenFile: a.AdminTokenFile()})
	description, err := client.ask(t.Context(), http.MethodGet, "/openapi.json", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	document, err := openapitest.Parse(description.body)
	if err != nil {
		t.Fatal(err)
	}
	client.http.Transport = &openapitest.Transport{
		Inner:    client.http.Transport,
		Document: func() *openapitest.Document { return document },
		Done: func(_ *openapitest.Operation, _ int, err error) {
			if err != nil {
				t.Errorf("not as the OpenAPI document says: %v", err)
			}
		},
	}
	return client
}

func newClient(t *testing.T, config Config) *Client {
	t.Helper()
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.http.CloseIdleConnections)
	return client
}

func TestTickets(t *testing.T) {
	client := startAuthority(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	created, err := client.CreateTicket(t.Context(), resource.TicketSpec{Description: "d", ExpiresAt: &expires, Tags: []string{"a"}})
	if err != nil || created.Ticket == "" || !created.Spec.ExpiresAt.Equal(expires) {
		t.Fatalf("created %+v, %v", created, err)
	}
	shown, err := client.Ticket(t.Context(), created.Name)
	if err != nil || shown.Name != created.Name || shown.Ticket != "" || shown.Spec.Description != "d" {
		t.Errorf("shown %+v, %v", shown, err)
	}
	gone, err := client.DeactivateTicket(t.Context(), created.Name)
	if err != nil || gone.Status.State != resource.StateDeactivated || gone.Spec.Description != "d" {
		t.Errorf("deactivated %+v, %v", gone, err)
	}
	for _, name := range []string{"tk1:none", "../workloads", "a/b", "?x"} {
		var status *StatusError
		if _, err := client.Ticket(t.Context(), name); !errors.As(err, &status) || status.Code != 404 {
			t.Errorf("ticket %q: %v", name, err)
		}
	}
	if all, err := client.Workloads(t.Context()); err != nil || all == nil || len(all) != 0 {
		t.Errorf("workloads %v, %v", all, err)
	}
}

func TestListsAreReadWhole(t *testing.T) {
	client := startAuthority(t)
	want := resource.MaxPage + 3
	for range want {
		if _, err := client.CreateTicket(t.Context(), resource.TicketSpec{}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := client.Tickets(t.Context())
	seen := map[string]bool{}
	for _, ticket := range all {
		seen[ticket.Name] = true
	}
	if err != nil || len(all) != want || len(seen) != want {
		t.Errorf("%d tickets, %d different, %v; want %d", len(all), len(seen), err, want)
	}
}

func TestNewRefuses(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(loose, []byte("hunter2\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		config      Config
		says        string
		isConfigErr bool
	}{
		"no URL":          {Config{TokenFile: token}, "LANYARD_AUTHORITY_URL", true},
		"other scheme":    {Config{URL: "unix:///x", TokenFile: token}, "LANYARD_AUTHORITY_URL", true},
		"in the clear":    {Config{URL: "http://id.example", TokenFile: token}, "use https", true},
		"looks local":     {Config{URL: "http://localhost.example", TokenFile: token}, "use https", true},
		"password in URL": {Config{URL: "https://u:hunter2@id.example", TokenFile: token}, "LANYARD_AUTHORITY_URL", true},
		"no token":        {Config{URL: "https://id.example", TokenFile: "/nowhere/token"}, "LANYARD_ADMIN_TOKEN_FILE", false},
		"loose token":     {Config{URL: "https://id.example", TokenFile: loose}, "chmod 600", false},
		"no CA":           {Config{URL: "https://id.example", TokenFile: token, CAFile: "/nowhere"}, "LANYARD_CA_FILE", true},
		"CA of nothing":   {Config{URL: "https://id.example", TokenFile: token, CAFile: token}, "no certificate", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") || errors.Is(err, ErrConfig) != tt.isConfigErr {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
	for _, url := range []string{"https://id.example/", "http://127.0.0.1:8700", "http://[::1]:8700", "http://localhost"} {
		if _, err := New(Config{URL: url, TokenFile: token}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := New(Config{URL: "http://id.example", TokenFile: token, AllowInsecure: true}); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

func TestAnswersOfOthers(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer elsewhere.Close()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "307"},
		"HTML":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "is LANYARD_AUTHORITY_URL"},
		"HTML error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); fmt.Fprint(w, "<html>") }, "502"},
		"wrong token": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			fmt.Fprint(w, `{"code":401,"message":"no"}`)
		}, "401: no"},
		"token sent back": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"code":400,"message":"what is %s?"}`, r.Header.Get("Authorization"))
		}, "400"},
		"token sent back by what is no HTTP": {func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s\r\n", r.Header.Get("Authorization"))
		}, "does not speak HTTP"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
		}, "read authority's answer"},
		"endless page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, endless{}, maxAnswer+1) }, "read authority's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			_, err := newClient(t, Config{URL: server.URL, TokenFile: token}).Tickets(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
	if asked != 0 {
		t.Error("the token followed a redirect")
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if _, err := newClient(t, Config{URL: gone.URL, TokenFile: token}).Tickets(t.Context()); err == nil || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("nobody there: %v", err)
	}
}

// A server that changes the protocol, and then says nothing, keeps no call longer than the
// reading of its answer takes.
func TestAnswerThatChangesTheProtocol(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	letGo := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		letGo <- serverurltest.ChangeProtocol(w, requestTimeout/2)
	}))
	defer server.Close()
	_, err := newClient(t, Config{URL: server.URL, TokenFile: token}).Tickets(t.Context())
	if err == nil || !strings.Contains(err.Error(), "101 (Switching Protocols)") {
		t.Errorf("error %v", err)
	}
	if err := <-letGo; err != nil {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
