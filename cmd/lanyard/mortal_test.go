package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/freeport"
)

// maxReplayed is how much is sent anew after a restart.
const maxReplayed = 40

// mortal is lanyard authority as a process that is killed and started again. Its
// callers reach it through a proxy, which notes what they send.
type mortal struct {
	t       *testing.T
	dir     string
	program string
	address string // where it listens
	url     string // where its callers find it
	admin   *admin.Client
	log     *os.File

	running *exec.Cmd
	direct  *http.Client // to it, past the proxy

	mu          sync.Mutex // guards what follows
	sent        []*exchange
	sentAtDeath int           // how many were sent when the authority was killed
	deadline    int           // the number of the one with which it is to die
	condemned   chan struct{} // closed then
}

// exchange is a request of the operator protocol, and what became of it.
type exchange struct {
	method, path, authorization string
	body                        []byte
	status                      int  // 0 where no answer came
	done                        bool // neither an answer nor its lack is to come
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{t: t, dir: t.TempDir(), address: address}
	m.program = filepath.Join(m.dir, programName)
	if err := os.Symlink(self, m.program); err != nil {
		t.Fatal(err)
	}
	if m.log, err = os.Create(filepath.Join(m.dir, "log")); err != nil {
		t.Fatal(err)
	}
	// No connection is kept: one that a killed process leaves would have a request
	// sent twice.
	m.direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitLimit}
	proxy := httptest.NewServer(m)
	t.Cleanup(proxy.Close)
	m.url = proxy.URL
	m.start()
	t.Cleanup(m.kill)
	if m.admin, err = admin.New(admin.Config{URL: "http://" + m.address, TokenFile: filepath.Join(m.dir, "data", "admin-token")}); err != nil {
		t.Fatal(err)
	}
	return m
}

// start starts the authority and waits until it is ready.
func (m *mortal) start() {
	m.t.Helper()
	m.running = exec.Command(m.program, "authority")
	m.running.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "LANYARD_DATA_DIR=" + filepath.Join(m.dir, "data"),
		"LANYARD_LISTEN=" + m.address, "LANYARD_AUTHORITY_URL=" + m.url,
		"LANYARD_RATE_LIMIT=1000000", "LANYARD_RATE_BURST=1000000",
		"LANYARD_WORKLOAD_RATE_LIMIT=1000000", "LANYARD_WORKLOAD_RATE_BURST=1000000",
	}
	m.running.Stdout, m.running.Stderr = m.log, m.log
	if err := m.running.Start(); err != nil {
		m.t.Fatal(err)
	}
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		response, err := m.direct.Get("http://" + m.address + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(m.log.Name())
			m.t.Fatalf("the authority is not ready: %v\n%s", err, log)
		}
	}
}

// kill kills the authority, and returns when it is dead.
func (m *mortal) kill() {
	_ = m.running.Process.Kill() // an error says that it is dead already
	_ = m.running.Wait()
}

// killAfter kills the authority once so many further requests are on their way, and
// it had a moment for the last of them.
func (m *mortal) killAfter(requests int, moment time.Duration) {
	m.t.Helper()
	condemned := make(chan struct{})
	m.mu.Lock()
	m.deadline, m.condemned = len(m.sent)+requests, condemned
	m.mu.Unlock()
	select {
	case <-condemned:
		time.Sleep(moment) // it may die anywhere
		m.kill()
		m.mu.Lock()
		m.sentAtDeath = len(m.sent)
		m.mu.Unlock()
	case <-time.After(waitLimit):
		m.t.Fatalf("the load has ended: %d further requests did not come within %s", requests, waitLimit)
	}
}

// ServeHTTP hands a request on. Without an answer, its caller gets none.
func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	e := &exchange{method: r.Method, path: r.URL.Path, authorization: r.Header.Get("Authorization"), body: body}
	m.note(e)
	status, header, answer, err := m.forward(*e)
	m.mu.Lock()
	e.status, e.done = status, true
	m.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header()["Date"] = header["Date"]
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the caller may have gone
}

// note keeps what is sent, and may be what the authority dies with.
func (m *mortal) note(e *exchange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, e)
	if len(m.sent) == m.deadline {
		close(m.condemned)
	}
}

// forward sends what was sent, or sends it again.
func (m *mortal) forward(e exchange) (status int, header http.Header, answer []byte, err error) {
	request, err := http.NewRequest(e.method, "http://"+m.address+e.path, bytes.NewReader(e.body))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if e.authorization != "" {
		request.Header.Set("Authorization", e.authorization)
	}
	response, err := m.direct.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, response.Header, answer, err
}

// replay sends anew what was sent last before the authority was killed: what was
// accepted then is refused, and what got no answer is accepted once at most.
func (m *mortal) replay() {
	m.t.Helper()
	replayed := 0
	for _, e := range m.lastWords() {
		switch e.status {
		case http.StatusOK:
		case 0:
			_ = m.again(e) // it may have been accepted then, and else it is now
		default:
			continue
		}
		replayed++
		if status := m.again(e); status != http.StatusUnauthorized {
			m.t.Errorf("%s %s was answered with %d, and sent anew with %d, want 401", e.method, e.path, e.status, status)
		}
	}
	m.t.Logf("sent anew: %d requests", replayed)
}

// lastWords are the latest requests that were sent before the authority was killed,
// and are not on their way any more.
func (m *mortal) lastWords() (last []exchange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.sent[max(m.sentAtDeath-maxReplayed, 0):m.sentAtDeath] {
		if e.done {
			last = append(last, *e)
		}
	}
	return last
}

func (m *mortal) again(e exchange) (status int) {
	m.t.Helper()
	status, _, _, err := m.forward(e)
	if err != nil {
		m.t.Errorf("send %s anew: %v", e.path, err)
	}
	return status
}

// assertions counts the different ones that were sent to a path.
func (m *mortal) assertions(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	different := map[string]bool{}
	for _, e := range m.sent {
		if e.path == path {
			different[e.authorization] = true
		}
	}
	return len(different)
}

// wantNoComplaint looks for what the authority found wrong with itself.
func (m *mortal) wantNoComplaint() {
	m.t.Helper()
	log, err := os.ReadFile(m.log.Name())
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "level=ERROR") {
			m.t.Errorf("the authority says: %s", line)
		}
	}
}

var errNotIntact = errors.New("the activity is not intact")

// verifyChain has the authority look at the chain of its activity.
func (m *mortal) verifyChain() error {
	chain, err := m.admin.VerifyActivity(m.t.Context())
	if err == nil && !chain.Intact {
		err = fmt.Errorf("%w: %s", errNotIntact, chain.Problem)
	}
	return err
}
