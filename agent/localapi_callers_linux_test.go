package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// rawAnswers sends one text on one connection and reads the answers to it, so
// that the request is exactly what the test says.
func rawAnswers(t *testing.T, c net.Conn, in *bufio.Reader, requests ...string) (statuses []int, bodies []string) {
	t.Helper()
	for _, request := range requests {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		statuses, bodies = append(statuses, response.StatusCode), append(bodies, string(body))
	}
	return statuses, bodies
}

func dialLocal(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// TestLocalAPIHosts: security.md 6. Both kinds of caller, so that neither the
// key nor the kernel's word is a way around it.
func TestLocalAPIHosts(t *testing.T) {
	const path = "/peer/v1/id_token"
	get := "GET " + path + " HTTP/1.1\r\n"
	host := func(h string) string { return get + "Host: " + h + "\r\n" }
	for _, c := range []struct {
		name, head string
		status     int
	}{
		{"localhost", host("localhost"), 200},
		{"localhost and port", host("localhost:3013"), 200},
		{"other case", host("LocalHost:3013"), 200},
		{"a forwarded port", host("127.0.0.1:9"), 200},
		{"IPv6", host("[::1]"), 200},
		{"IPv6 and port", host("[::1]:3013"), 200},
		{"listening address", host("lanyard.example"), 200},
		{"another name", host("evil.example"), 403},
		{"a name that ends alike", host("evil.localhost"), 403},
		{"a name that begins alike", host("127.0.0.1.evil.example"), 403},
		{"another loopback address", host("127.0.0.2"), 403},
		{"loopback in decimal", host("2130706433"), 403},
		{"loopback in short", host("127.1"), 403},
		{"mapped loopback", host("[::ffff:127.0.0.1]"), 403},
		{"long form of IPv6", host("[0:0:0:0:0:0:0:1]"), 403},
		{"IPv6 with a zone", host("[::1%25lo]"), 403},
		{"brackets around a name", host("[[localhost]]"), 403},
		{"dot at the end", host("localhost."), 403},
		{"user information", host("localhost@evil.example"), 400},
		{"empty", host(""), 403},
		{"none, HTTP/1.0", "GET " + path + " HTTP/1.0\r\n", 403},
		{"none, HTTP/1.1", get, 400},
		{"two", host("localhost") + "Host: evil.example\r\n", 400},
		{"the same twice", host("localhost") + "Host: localhost\r\n", 400},
		{"two names in one", host("localhost, evil.example"), 400},
		{"absolute form hides another Host", "GET http://localhost" + path + " HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"absolute form", "GET http://localhost" + path + " HTTP/1.1\r\nHost: localhost\r\n", 403},
		{"absolute form of another", "GET http://evil.example" + path + " HTTP/1.1\r\nHost: localhost\r\n", 403},
		{"unknown call, another name", "GET / HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"path to be cleaned, another name", "GET //peer/v1/id_token HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"other method, another name", "POST " + path + " HTTP/1.1\r\nContent-Length: 0\r\nHost: evil.example\r\n", 403},
		{"CONNECT", "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n", 403},
		{"Origin", host("localhost") + "Origin: http://localhost:3013\r\n", 403},
		{"Origin null", host("localhost") + "Origin: null\r\n", 403},
		{"Origin empty", host("localhost") + "oRIGIN:\r\n", 403},
		{"preflight", "OPTIONS " + path + " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", 403},
	} {
		for _, caller := range []string{"Lanyard-Workload: 1\r\n", "Authorization: Bearer " + testKey + "\r\n"} {
			t.Run(c.name, func(t *testing.T) {
				conn, in := dialLocal(t, serveLocalAPI(t, fakeFlow{1, workload.FlowLocalAPI}, "keyed"))
				statuses, bodies := rawAnswers(t, conn, in, c.head+caller+"\r\n")
				if statuses[0] != c.status || strings.Contains(bodies[0], "token-of") != (c.status == 200) {
					t.Errorf("%s: got %d %s, want %d", caller, statuses[0], bodies[0], c.status)
				}
			})
		}
	}
}

// TestLocalAPIHeaderOfAWorkload: security.md 6, the header is exactly that.
func TestLocalAPIHeaderOfAWorkload(t *testing.T) {
	for header, status := range map[string]int{
		"Lanyard-Workload: 1": 200, "lanyard-workload: 1": 200, "": 401, "Lanyard-Workload:": 401, "Lanyard-Workload: 0": 401,
		"Lanyard-Workload: true": 401, "Lanyard-Workload: 11": 401, "Lanyard_Workload: 1": 401, "X-Lanyard-Workload: 1": 401,
		"Authorization: Basic Og==": 401, "Authorization: Bearer ": 401,
		"Lanyard-Workload: 1\r\nAuthorization: Bearer wrong": 401,
	} {
		t.Run(header, func(t *testing.T) {
			conn, in := dialLocal(t, serveLocalAPI(t, fakeFlow{1, workload.FlowLocalAPI}, "keyed"))
			if header != "" {
				header += "\r\n"
			}
			statuses, bodies := rawAnswers(t, conn, in, "GET /peer/v1/id_token HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
			if statuses[0] != status {
				t.Errorf("got %d %s, want %d", statuses[0], bodies[0], status)
			}
		})
	}
}

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
	api := &localAPI{
		log: log, key: newAPIKey(testKey), ids: fakeIDs{}, tokens: fakeTokens{}, identity: func() string { return "" },
		callers: localCallers{registry: registry.New(policy), processes: &processes{
			attributor: images, log: log, learn: func(uint64, string) error { return nil }, learnt: map[uint64]struct{}{},
		}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newLocalServer(api.handler(), fakeFlow{pid, workload.FlowLocalAPI})
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

const asWorkloadItself = "GET /peer/v1/id_token HTTP/1.1\r\nHost: localhost\r\nLanyard-Workload: 1\r\n\r\n"

// TestOpenConnectionOfAnExecutedCaller: security.md 5 and 6. The connection
// stays open while the caller becomes another program.
func TestOpenConnectionOfAnExecutedCaller(t *testing.T) {
	images := &oneImage{}
	conn, in := dialLocal(t, serveToProcesses(t, images, 7))
	if statuses, bodies := rawAnswers(t, conn, in, asWorkloadItself, asWorkloadItself); statuses[0] != 200 || statuses[1] != 200 {
		t.Fatalf("before: %v %v", statuses, bodies)
	}
	images.mu.Lock()
	images.ended = true
	images.mu.Unlock()
	if statuses, bodies := rawAnswers(t, conn, in, asWorkloadItself); statuses[0] != 401 || strings.Contains(bodies[0], "token-of") {
		t.Errorf("after: %v %v", statuses, bodies)
	}
}

// TestCallerThatEndsWhileItIsLookedAt is caught by the second look.
func TestCallerThatEndsWhileItIsLookedAt(t *testing.T) {
	conn, in := dialLocal(t, serveToProcesses(t, &oneImage{late: true}, 7))
	if statuses, bodies := rawAnswers(t, conn, in, asWorkloadItself); statuses[0] != 401 {
		t.Errorf("got %v %v", statuses, bodies)
	}
}

func TestCallerThatCannotBeAttributed(t *testing.T) {
	conn, in := dialLocal(t, serveToProcesses(t, &oneImage{}, 8))
	if statuses, bodies := rawAnswers(t, conn, in, asWorkloadItself); statuses[0] != 401 || strings.Contains(bodies[0], "no such process") {
		t.Errorf("got %v %v", statuses, bodies)
	}
}

// TestOnlyLoopbackTellsWhoCalls: what other machines can reach is no source of
// flows, as their connections have none.
func TestOnlyLoopbackTellsWhoCalls(t *testing.T) {
	a := &Agent{log: slog.New(slog.DiscardHandler)} // without a probe: none is asked
	l, flows, err := a.listenLocalAPI(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if flows != nil {
		t.Error("callers of 0.0.0.0 are looked up")
	}
}

func TestAgentKeepsNoAPIKey(t *testing.T) {
	a := &Agent{settings: Settings{StateDir: t.TempDir(), APIKey: "hunter2"}}
	if err := a.openState(); err != nil {
		t.Fatal(err)
	}
	if !a.key.matches("hunter2") || strings.Contains(fmt.Sprintf("%+v", a), "hunter2") {
		t.Error("the agent prints the key, or does not know it")
	}
}
