package client

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/token/operator"
)

const key = "Albert"

// signing is a key that nobody verifies by.
var signing = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// standIn speaks the operator protocol's answers and believes everything.
type standIn struct {
	registrations, fetches, renewals atomic.Int32
	away                             atomic.Bool
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if s.away.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var out any
	switch r.URL.Path {
	case "/operator/v1/register":
		s.registrations.Add(1)
		out = map[string]string{"workload_id": "pr1:x", "operator_id": "op1:x"}
	case "/operator/v1/id_token":
		s.fetches.Add(1)
		signed, _ := jwt.Sign(someClaims(), jwt.WithKey(jwa.EdDSA, signing)) // it always fits
		out = map[string]string{"jwt_id_token": string(signed)}
	case "/operator/v1/key":
		s.renewals.Add(1)
		out = map[string]string{"workload_id": "pr1:x"}
	case "/operator/v1/secret/sec1:x":
		out = map[string]any{"id": "sec1:x", "content": "hunter2", "created_at": time.Now(), "expires_at": nil, "description": ""}
	case "/operator/v1/invite":
		out = map[string]string{"ticket_id": "lyt_minted"}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func someClaims() jwt.Token {
	claims := jwt.New()
	for name, value := range map[string]any{"iss": "op1:x", "sub": "pr1:x", "jti": "jwt1:x", "iat": time.Now(), "exp": time.Now().Add(time.Hour)} {
		_ = claims.Set(name, value) // these always fit
	}
	return claims
}

func configure(t *testing.T, base string) Config {
	t.Helper()
	ticket, err := operator.NewTicket("lyt_x")
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Operator: operator.Config{Base: base, StateDir: filepath.Join(t.TempDir(), "state"), Ticket: ticket},
		LocalAPI: []string{"127.0.0.1:0"}, APIKey: key, Log: slog.New(slog.DiscardHandler),
	}
}

// run runs a client until the test ends, or stop is called.
func run(t *testing.T, config Config) (c *Client, stop func()) {
	t.Helper()
	c, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return c, stop
}

func call(t *testing.T, c *Client, method, path, body string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Addresses()[0]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	r.Host = r.Header.Get("Host")
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// TestCalls: every call, and security.md 6 without a kernel: the key or nothing.
func TestCalls(t *testing.T) {
	s := &standIn{}
	server := httptest.NewServer(s)
	defer server.Close()
	c, _ := run(t, configure(t, server.URL+"/operator"))
	const bearer = "Bearer " + key
	for _, x := range []struct {
		call, body string
		header     map[string]string
		status     int
		holds      string
	}{
		{"GET /peer/v1/workload/id", "", map[string]string{"Authorization": bearer}, 200, `{"id":"pr1:x"}`},
		{"GET /peer/v1/id_token", "", map[string]string{"Authorization": bearer}, 200, `"jwt_id_token":"ey`},
		{"GET /peer/v1/secret/sec1:x", "", map[string]string{"Authorization": bearer}, 200, `"content":"hunter2"`},
		{"POST /peer/v1/generate/invite", `{"ticket_factory_id":"tf1:x"}`, map[string]string{"Authorization": bearer}, 200, `{"ticket_id":"lyt_minted"}`},
		{"GET /peer/v1/id_token", "", nil, 401, "missing"},
		{"GET /peer/v1/id_token", "", map[string]string{"Authorization": bearer + "a"}, 401, "wrong"},
		{"GET /peer/v1/id_token", "", map[string]string{"Lanyard-Workload": "1"}, 401, "missing"},
		{"GET /peer/v1/id_token", "", map[string]string{"Authorization": bearer, "Origin": "http://localhost"}, 403, "web page"},
		{"GET /peer/v1/id_token", "", map[string]string{"Authorization": bearer, "Host": "evil.example"}, 403, "own address"},
	} {
		method, path, _ := strings.Cut(x.call, " ")
		if status, body := call(t, c, method, path, x.body, x.header); status != x.status || !strings.Contains(body, x.holds) {
			t.Errorf("%s with %v: %d %s, want %d with %s", x.call, x.header, status, body, x.status, x.holds)
		}
	}
}

// TestTokenIsReadyUnasked: nobody calls, and the token is there when the authority
// has gone.
func TestTokenIsReadyUnasked(t *testing.T) {
	s := &standIn{}
	server := httptest.NewServer(s)
	defer server.Close()
	c, _ := run(t, configure(t, server.URL+"/operator"))
	await(t, "a token is fetched", func() bool { return s.fetches.Load() > 0 })
	withKey := map[string]string{"Authorization": "Bearer " + key}
	for range 2 {
		if status, body := call(t, c, "GET", "/peer/v1/id_token", "", withKey); status != 200 {
			t.Errorf("%d %s", status, body)
		}
		s.away.Store(true)
	}
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestTakenPortCostsNoTicket: the port is looked at first.
func TestTakenPortCostsNoTicket(t *testing.T) {
	s := &standIn{}
	server := httptest.NewServer(s)
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	config := configure(t, server.URL+"/operator")
	config.LocalAPI = []string{"127.0.0.1:0", l.Addr().String()}
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "--local-port") {
		t.Errorf("taken port: %v", err)
	}
	if n := s.registrations.Load(); n != 0 {
		t.Errorf("%d registrations", n)
	}
}

// TestFolderIsFreeAfterwards: a stopped client, and one that could not be made, hold
// nothing.
func TestFolderIsFreeAfterwards(t *testing.T) {
	s := &standIn{}
	server := httptest.NewServer(s)
	defer server.Close()
	config := configure(t, server.URL+"/operator")
	s.away.Store(true)
	if _, err := New(t.Context(), config); err == nil {
		t.Fatal("enrolled without the authority")
	}
	s.away.Store(false)
	_, stop := run(t, config)
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "own folder") {
		t.Errorf("folder in use: %v", err)
	}
	stop()
	run(t, config)
	if n := s.registrations.Load(); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestKeyIsRenewed once it is old enough, and not before.
func TestKeyIsRenewed(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: false, time.Hour: false, time.Nanosecond: true} {
		s := &standIn{}
		server := httptest.NewServer(s)
		config := configure(t, server.URL+"/operator")
		config.KeyMaxAge = age
		var log lines
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		_, stop := run(t, config)
		await(t, "a token is ready", func() bool { return log.hold("ID token is ready") })
		if want {
			await(t, "the key is renewed", func() bool { return log.hold("key was renewed") })
		}
		stop()
		if n := s.renewals.Load(); n > 0 != want {
			t.Errorf("older than %v: %d renewals, want any: %v", age, n, want)
		}
		server.Close()
	}
}

// TestCopiedFolderIsReported on the host where it was not enrolled, there only.
func TestCopiedFolderIsReported(t *testing.T) {
	server := httptest.NewServer(&standIn{})
	defer server.Close()
	config := configure(t, server.URL+"/operator")
	for _, host := range []string{"one", "one", "two"} {
		var log lines
		config.Operator.Host = host
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		_, stop := run(t, config)
		stop()
		if reported := log.hold("enrolled_on=one host=two"); reported != (host == "two") {
			t.Errorf("on host %s: reported %v", host, reported)
		}
	}
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) hold(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// TestLocalAPIHoldsSoManyConnections: one user's idle connections are bounded, and who
// comes then is served; a wrong key costs a connection.
func TestLocalAPIHoldsSoManyConnections(t *testing.T) {
	server := httptest.NewServer(&standIn{})
	defer server.Close()
	c, _ := run(t, configure(t, server.URL+"/operator"))
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for range 2 * connections {
		conn, err := net.Dial("tcp", c.Addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if status, body := call(t, c, "GET", "/peer/v1/id_token", "", map[string]string{"Authorization": "Bearer " + key}); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	held := 0
	for _, conn := range open {
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := conn.Read(make([]byte, 1)); errors.As(err, &timeout) && timeout.Timeout() {
			held++
		}
	}
	if held == 0 || held > connections {
		t.Errorf("%d of %d connections are held, want %d at most", held, len(open), connections)
	}
	for range 2 {
		if status, _ := call(t, c, "GET", "/peer/v1/id_token", "", map[string]string{"Authorization": "Bearer guess"}); status != 401 {
			t.Errorf("a guess: %d", status)
		}
	}
}
