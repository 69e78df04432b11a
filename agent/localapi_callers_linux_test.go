package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/listen"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// oneImage is an attributor that knows one process until it ends.
type oneImage struct {
	mu    sync.Mutex
	ended bool // what Current says
	late  bool // it ends between the two questions
}

func (o *oneImage) Attribute(_ context.Context, f workload.Flow) (*workload.Process, error) {
	if f.Image.PID != 7 {
		return nil, errors.New("attribute: no such process")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = o.ended || o.late
	return &workload.Process{Image: f.Image, Executable: "/usr/bin/billing", User: "billing", UID: 100}, nil
}

func (o *oneImage) Current(workload.Image) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.ended
}

type accounts struct{}

func (accounts) UserID(name string) (uint32, error) {
	if name != "billing" {
		return 0, fmt.Errorf("no user %q", name)
	}
	return 100, nil
}

func (accounts) GroupID(string) (uint32, error) { return 0, errors.New("no groups") }

// flowOf is the kernel's answer for every connection: this process made it.
type flowOf uint32

func (pid flowOf) Lookup(syscall.Conn) (workload.Flow, error) {
	return workload.Flow{Kind: workload.FlowLocalAPI, Image: workload.Image{PID: uint32(pid)}}, nil
}

type oneToken struct{}

func (oneToken) Get(_ context.Context, r token.Request) (token.Token, error) {
	now := time.Now()
	return token.New("token-of-"+r.Identity+".", "jwt1:x", now, now.Add(time.Hour))
}

// serveToProcesses serves the local API to real attribution and registry.
func serveToProcesses(t *testing.T, images *oneImage, pid uint32) string {
	t.Helper()
	policy, _, err := registry.Compile(registry.Resources{Identities: []registry.IdentitySpec{{
		Name: "billing", LocalAPI: true, Match: workload.SelectorSpec{Executables: []string{"/usr/bin/billing"}, Users: []string{"billing"}},
	}}}, accounts{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	api := localapi.New(localapi.Config{
		Log: log, Key: localapi.NewKey("the-key-of-this-test").Always(), Tokens: oneToken{}, Identity: func() string { return "" },
		Callers: localCallers{registry: registry.New(policy), processes: &processes{
			attributor: images, log: log, learn: func(uint64, string) error { return nil }, learnt: map[uint64]struct{}{}, budget: logbudget.New(logbudget.Config{}), cgroupPath: noCgroup,
		}},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := localapi.NewServer(api.Handler(), localapi.Door{Flows: flowOf(pid), Gate: admission.NewGate(30), Log: log})
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

// askAsWorkload asks for a token as a process without the key does. One client
// keeps its connection open.
func askAsWorkload(t *testing.T, client *http.Client, address string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/peer/v1/id_token", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(localapi.WorkloadHeader, "1")
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// newClient returns a client with at most one connection.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestOpenConnectionOfAnExecutedCaller: security.md 5 and 6. The connection
// stays open while the caller becomes another program.
func TestOpenConnectionOfAnExecutedCaller(t *testing.T) {
	images := &oneImage{}
	address, client := serveToProcesses(t, images, 7), newClient(t)
	for range 2 {
		if status, body := askAsWorkload(t, client, address); status != 200 {
			t.Fatalf("before: %d %s", status, body)
		}
	}
	images.mu.Lock()
	images.ended = true
	images.mu.Unlock()
	if status, body := askAsWorkload(t, client, address); status != 401 || strings.Contains(body, "token-of") {
		t.Errorf("after: %d %s", status, body)
	}
}

// TestCallerThatEndsWhileItIsLookedAt is caught by the second look.
func TestCallerThatEndsWhileItIsLookedAt(t *testing.T) {
	if status, body := askAsWorkload(t, newClient(t), serveToProcesses(t, &oneImage{late: true}, 7)); status != 401 {
		t.Errorf("got %d %s", status, body)
	}
}

func TestCallerThatCannotBeAttributed(t *testing.T) {
	if status, body := askAsWorkload(t, newClient(t), serveToProcesses(t, &oneImage{}, 8)); status != 401 || strings.Contains(body, "no such process") {
		t.Errorf("got %d %s", status, body)
	}
}

// TestOnlyLoopbackTellsWhoCalls: what other machines can reach is no source of
// flows, as their connections have none.
func TestOnlyLoopbackTellsWhoCalls(t *testing.T) {
	l, known, err := newLocalListeners(nil).listen(t.Context(), "0.0.0.0:0") // without a probe: none is asked
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if known {
		t.Error("callers of 0.0.0.0 are looked up")
	}
}

func TestAgentKeepsNoAPIKey(t *testing.T) {
	a := &Agent{
		settings: Settings{StateDir: t.TempDir(), APIKey: "hunter2"},
		health:   newHealth(), log: slog.New(slog.DiscardHandler),
	}
	if err := a.openState(); err != nil {
		t.Fatal(err)
	}
	key, err := a.key.get()
	if err != nil || !key.Matches("hunter2") || strings.Contains(fmt.Sprintf("%+v %+v", a, a.key), "hunter2") {
		t.Error("the agent prints the key, or does not know it")
	}
}

// TestAFamilyKeepsItsOtherListeners: where the address that had them is lost, another one
// of the family is opened again, with some.
func TestAFamilyKeepsItsOtherListeners(t *testing.T) {
	s := newLocalListeners(nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	second := &localAPIListener{Listener: &listen.Listener{TCPListener: listener.(*net.TCPListener)}}
	if !s.claim(unix.AF_INET) || s.claim(unix.AF_INET) || !s.claim(unix.AF_INET6) {
		t.Error("not one address of each family has the others")
	}
	if err := s.look(second); err != nil {
		t.Errorf("the first has them: %v", err)
	}
	s.giveUp(unix.AF_INET)
	if err := s.look(second); !errors.Is(err, errNoOthers) {
		t.Errorf("the first has lost them: %v", err)
	}
	if err := s.look(listener); err != nil {
		t.Errorf("an address whose callers need the key: %v", err)
	}
}
