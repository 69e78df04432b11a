package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
	"github.com/lanyardhq/lanyard/internal/workload"
)

const testKey = "the-key-of-this-test"

// fakeCallers maps process ids to identities.
type fakeCallers map[uint32]*workload.Identity

func (c fakeCallers) Identify(_ context.Context, f workload.Flow) (*workload.Identity, error) {
	if f.Image.PID == 99 {
		return nil, &workload.AmbiguousError{Image: f.Image, Identities: []string{"one", "two"}}
	}
	return c[f.Image.PID], nil
}

// failures are what becomes of the calls of some identities.
var failures = map[string]error{
	"refused": &token.RefusedError{Message: "ticket deactivated"},
	"away":    fmt.Errorf("fetch: %w", token.ErrUnreachable),
	"busy":    &token.BusyError{Until: time.Now().Add(time.Hour), Err: fmt.Errorf("%w: slow down", token.ErrUnreachable)},
	"none":    token.ErrNoSource,
	"lacking": fmt.Errorf("read: %w", operator.ErrNotFound),
	"invalid": &operator.InvalidError{Message: "the factory is odd"},
}

type fakeTokens struct{}

func (fakeTokens) Get(_ context.Context, r token.Request) (token.Token, error) {
	if err := failures[r.Identity]; err != nil {
		return token.Token{}, err
	}
	now := time.Now()
	return token.New("token-of-"+r.Identity+"-for-"+r.Audience+".", "jwt1:x", now, now.Add(time.Hour))
}

// fakeWorkload is the workload of the identity that it is named after.
type fakeWorkload string

func (w fakeWorkload) Enrol(context.Context) (operator.Enrolment, error) {
	return operator.Enrolment{WorkloadID: "pr1:" + string(w)}, nil
}

func (w fakeWorkload) Secret(_ context.Context, id string, refresh bool) (operator.Secret, error) {
	return operator.Secret{ID: id, Description: fmt.Sprint("refresh ", refresh)}, failures[string(w)]
}

func (w fakeWorkload) Invite(_ context.Context, factory string) (string, error) {
	return "lyt_of_" + factory, failures[string(w)]
}

func fakeWorkloads(identity string) (Workload, bool) {
	return fakeWorkload(identity), identity != "none"
}

// fakeFlow is the kernel's answer for every connection of one server.
type fakeFlow struct {
	pid  uint32
	kind workload.FlowKind
}

func (f fakeFlow) Lookup(syscall.Conn) (workload.Flow, error) {
	if f.pid == 0 {
		return workload.Flow{}, workload.ErrNoFlow
	}
	return workload.Flow{Kind: f.kind, Image: workload.Image{PID: f.pid}}, nil
}

func serveLocalAPI(t *testing.T, flow Flows, identity string) string {
	t.Helper()
	api := New(Config{
		Log: slog.New(slog.DiscardHandler), Key: NewKey(testKey).Always(),
		Addresses: []string{"lanyard.example:3013"},
		Callers:   fakeCallers{1: {Name: "open", LocalAPI: true}, 2: {Name: "closed"}},
		Tokens:    fakeTokens{},
		Workload:  fakeWorkloads, Identity: func() string { return identity },
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(api.Handler(), Door{Flows: flow, Gate: admission.NewGate(30), Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func TestLocalAPI(t *testing.T) {
	noFlow := fakeFlow{}
	open, closed := fakeFlow{1, workload.FlowLocalAPI}, fakeFlow{2, workload.FlowLocalAPI}
	withKey := map[string]string{"Authorization": "Bearer " + testKey}
	asWorkload := map[string]string{WorkloadHeader: "1"}
	for _, c := range []struct {
		name     string
		flow     fakeFlow
		identity string
		path     string
		header   map[string]string
		host     string
		status   int
		holds    string
	}{
		{"key", noFlow, "keyed", "/peer/v1/id_token", withKey, "", 200, "token-of-keyed-for-."},
		{"key and audience", noFlow, "keyed", "/peer/v1/id_token?audience=https://a", withKey, "", 200, "token-of-keyed-for-https://a."},
		{"key, two audiences", noFlow, "keyed", "/peer/v1/id_token?audience=https://a&audience=https://b", withKey, "", 400, "one audience"},
		{"key, scheme in other case", noFlow, "keyed", "/peer/v1/id_token", map[string]string{"Authorization": "bearer " + testKey}, "", 200, "token-of-keyed"},
		{"other scheme", noFlow, "keyed", "/peer/v1/id_token", map[string]string{"Authorization": "Basic " + testKey}, "", 401, "missing"},
		{"key, id", noFlow, "keyed", "/peer/v1/workload/id", withKey, "", 200, `"id":"pr1:keyed"`},
		{"key without identity", noFlow, "", "/peer/v1/id_token", withKey, "", 404, "local_api"},
		{"wrong key", open, "keyed", "/peer/v1/id_token", map[string]string{"Authorization": "Bearer nope", WorkloadHeader: "1"}, "", 401, "wrong"},
		{"no key", noFlow, "keyed", "/peer/v1/id_token", nil, "", 401, "missing"},
		{"no key, not attributed", noFlow, "keyed", "/peer/v1/id_token", asWorkload, "", 401, "missing"},
		{"attributed", open, "", "/peer/v1/id_token", asWorkload, "", 200, "token-of-open-"},
		{"attributed, id", open, "", "/peer/v1/workload/id", asWorkload, "", 200, "pr1:open"},
		{"attributed without the header", open, "", "/peer/v1/id_token", nil, "", 401, "missing"},
		{"attributed, identity closed", closed, "", "/peer/v1/id_token", asWorkload, "", 403, "local_api: false"},
		{"attributed, nobody", fakeFlow{3, workload.FlowLocalAPI}, "", "/peer/v1/id_token", asWorkload, "", 401, "no registered identity"},
		{"attributed, tie", fakeFlow{99, workload.FlowLocalAPI}, "", "/peer/v1/id_token", asWorkload, "", 403, "one and two"},
		{"a redirected flow proves nothing here", fakeFlow{1, workload.FlowRedirected}, "", "/peer/v1/id_token", asWorkload, "", 401, "missing"},
		{"foreign host", open, "keyed", "/peer/v1/id_token", withKey, "evil.example:3013", 403, "own address"},
		{"own host", noFlow, "keyed", "/peer/v1/id_token", withKey, "lanyard.example:3013", 200, "token-of"},
		{"localhost", noFlow, "keyed", "/peer/v1/id_token", withKey, "LOCALHOST:3013", 200, "token-of"},
		{"loopback 6", noFlow, "keyed", "/peer/v1/id_token", withKey, "[::1]:3013", 200, "token-of"},
		{"origin", open, "keyed", "/peer/v1/id_token", map[string]string{"Authorization": "Bearer " + testKey, "Origin": "http://localhost"}, "", 403, "web page"},
		{"refused by policy", noFlow, "refused", "/peer/v1/id_token", withKey, "", 403, "ticket deactivated"},
		{"authority away", noFlow, "away", "/peer/v1/id_token", withKey, "", 503, "unreachable"},
		{"no source", noFlow, "none", "/peer/v1/id_token", withKey, "", 404, "no tokens"},
		{"no source, id", noFlow, "none", "/peer/v1/workload/id", withKey, "", 404, "no tokens"},
		{"unknown call", noFlow, "keyed", "/peer/v1/secret", withKey, "", 404, "no such call"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := getLocal(t, serveLocalAPI(t, c.flow, c.identity), c.path, c.host, c.header)
			if status != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("got %d %s, want %d with %q", status, body, c.status, c.holds)
			}
			checkErrorBody(t, status, body)
		})
	}
}

func getLocal(t *testing.T, address, path, host string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for k, v := range header {
		r.Header.Set(k, v)
	}
	return do(t, r)
}

func TestUnixSocketNeverKnowsItsCaller(t *testing.T) {
	path := t.TempDir() + "/agent.sock"
	l, err := ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan bool, 1)
	server := NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- callerOf(r.Context()).flow != nil
	}), Door{Gate: admission.NewGate(30), Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	resp, err := client.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if <-seen {
		t.Error("a caller on the Unix socket was attributed")
	}
	if _, err := ListenUnix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("second listener: %v", err)
	}
	_ = server.Close()
	<-done
	// A file that is no socket is somebody's.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("in the place of a file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves is replaced.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	again, err := ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatalf("replace a stale socket: %v", err)
	}
	_ = again.Close()
}
