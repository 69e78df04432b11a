//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

const keyedConfig = curlConfig + "local_api: {identity: ledger-client}\n"

// optionalPlaces is the most that all optional listeners together may hold, under any
// limit of open files.
const optionalPlaces = 250

var loopback = netip.MustParseAddr("127.0.0.1")

// overSocket is a client of the agent's Unix socket.
func (w *world) overSocket() *http.Client {
	return &http.Client{Timeout: waitLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", w.path("agent.sock"))
		},
	}}
}

// readiness is what the agent answers to /readyz over a client.
func readiness(client *http.Client, url string) (string, error) {
	response, err := client.Get(url + "/readyz")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}

// askWithKey asks the local API for a token.
func askWithKey(client *http.Client, url, key string) (status int, err error) {
	r, err := http.NewRequest(http.MethodGet, url+"/peer/v1/id_token", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// TestWhatIsTakenStopsNothing: others hold the ports of metrics and local API, and the
// key file is damaged. The agent does its work, says what is missing, and has it as
// soon as it can.
func TestWhatIsTakenStopsNothing(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	metrics, api := w.listen(loopback, "3014"), w.listen(loopback, "3013")
	keyFile := w.path("agent/local-api-key")
	if err := os.Mkdir(w.path("agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("agent/local-api-key", "the-key\n")
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}

	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent", w.agentCommand(w.config(keyedConfig)))
	socket := w.overSocket()
	says := func(client *http.Client, url string, ready, missing []string) {
		t.Helper()
		w.agent.WaitUntil(t, waitLimit, func() error {
			text, err := readiness(client, url)
			if err != nil {
				return err
			}
			for _, part := range missing {
				if !strings.HasPrefix(text, "200 ok\n") || !strings.Contains(text, "degraded: "+part) {
					return fmt.Errorf("/readyz says %q, want %q among what is missing", text, part)
				}
			}
			for _, part := range ready {
				if strings.Contains(text, part+":") {
					return fmt.Errorf("/readyz says %q", text)
				}
			}
			return nil
		})
	}
	const metricsPart, apiPart, keyPart = "metrics 127.0.0.1:3014", "local_api 127.0.0.1:3013", "local_api_key"
	says(socket, "http://localhost", []string{"agent", "local_api [::1]:3013"}, []string{metricsPart, apiPart, keyPart})
	w.wantIn(ledgerURL)
	for _, text := range []string{"listener=metrics", "listener=local_api", "has mode 0644, which lets others in"} {
		if n := strings.Count(w.agent.Output(), text); n != 1 {
			t.Errorf("the log has %q %d times, want once", text, n)
		}
	}
	if status, err := askWithKey(w.http, "http://[::1]:3013", "the-key"); status != http.StatusServiceUnavailable {
		t.Errorf("a key without its file: %d, %v", status, err)
	}

	const up = `lanyard_listener_up{listener="local_api",address="127.0.0.1:3013"}`
	_ = metrics.Close()
	says(w.http, metricsURL, []string{metricsPart}, []string{apiPart, keyPart})
	if value, found := w.findMetric(up); !found || value != 0 {
		t.Errorf("the missing listener is %d in the metrics (%v)", value, found)
	}
	_ = api.Close()
	if err := os.Chmod(keyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	says(w.http, metricsURL, []string{metricsPart, apiPart, keyPart}, nil)
	if value := w.metric(up); value != 1 {
		t.Errorf("the listener is %d in the metrics", value)
	}
	for client, url := range map[*http.Client]string{w.http: localAPIURL, socket: "http://localhost"} {
		if status, err := askWithKey(client, url, "the-key"); status != http.StatusOK {
			t.Errorf("the key at %s: %d, %v", url, status, err)
		}
	}
	w.stopAgent()
}

// flood connects to one place again and again, says each of some texts in turn, and
// keeps what it gets. It pauses between two: connections that come faster than anybody
// could accept them fill the queue of the kernel, which nothing here can mend.
const flood = `
import itertools, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
family, at = (socket.AF_UNIX, sys.argv[1]) if "/" in sys.argv[1] else (socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))
kept, head = [], b" HTTP/1.1\r\nHost: localhost\r\n"
for text in itertools.cycle([b"", b"GET /" + head, b"GET /healthz" + head + b"\r\n",
        b"GET /peer/v1/id_token" + head + b"Lanyard-Workload: 1\r\n\r\n"]):
    s = socket.socket(family)
    s.settimeout(5)
    try:
        s.connect(at)
        s.sendall(text)
    except OSError:
        continue
    kept.append(s)
    if len(kept) > 4000: kept.pop(0).close()
    time.sleep(0.0005)
`

// startAsNobody starts Python as an ordinary user.
func (w *world) startAsNobody(name, script string, arguments ...string) process {
	w.t.Helper()
	cmd := exec.Command(python, append([]string{"-c", script}, arguments...)...)
	place := w.place()
	place.User = nobodyUser()
	return startProcess(w.t, place, name, cmd)
}

// openSocket lets ordinary users come to the agent's Unix socket.
func (w *world) openSocket() string {
	w.t.Helper()
	for _, folder := range []string{filepath.Dir(w.folder), w.folder} {
		if err := os.Chmod(folder, 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.path("agent.sock")
}

// startKeyedWorld makes a world whose agent knows a key.
func startKeyedWorld(t *testing.T) (*world, string) {
	t.Helper()
	const key = "the-key-of-this-world"
	w := newWorld(t)
	w.agentEnv = append(w.agentEnv, "MIM_API_KEY="+key, "LANYARD_LOG_LEVEL=info")
	w.startAuthority()
	w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(keyedConfig))
	w.wantIn(ledgerURL)
	return w, key
}

// TestFloodsOfOptionalListeners: an ordinary user fills the local API, its Unix socket
// and the metrics at once, with connections that say nothing, half a request and whole
// ones. The agent's descriptors and threads stay within bounds, and nothing fails for
// others: requests of an identity, calls with the key, scrapes.
func TestFloodsOfOptionalListeners(t *testing.T) {
	const rounds = 10
	w, key := startKeyedWorld(t)
	overSocket, pid := w.overSocket(), w.agent.Cmd.Process.Pid
	files, threads := countEntries(t, pid, "fd"), countEntries(t, pid, "task")
	most := 0
	what := map[string]func() error{
		"an identity's request": func() error { w.wantIn(ledgerURL); return nil },
		"the key over TCP":      func() error { return w.keyIsGood(w.http, localAPIURL, key) },
		"the key over Unix":     func() error { return w.keyIsGood(overSocket, "http://localhost", key) },
		"a scrape":              func() error { return w.getOK(metricsURL + "/metrics") },
		"descriptors":           func() error { most = max(most, countEntries(t, pid, "fd")); return nil },
	}
	slowest := func(when string) {
		for name, f := range what {
			t.Logf("%s: %s took %v at most", when, name, slices.Max(w.times(rounds, func() {
				if err := f(); err != nil {
					t.Errorf("%s: %s: %v", when, name, err)
				}
			})))
		}
	}
	slowest("before")
	listeners := []string{"127.0.0.1:3013", w.openSocket(), "127.0.0.1:3014"}
	for _, at := range listeners {
		w.startAsNobody("flood", flood, strings.TrimPrefix(at, "127.0.0.1:"))
	}
	w.agent.WaitUntil(t, waitLimit, func() error {
		for _, address := range listeners {
			closed := w.metric(`lanyard_listener_closed_connections_total{reason="evicted",address="` + address + `"}`)
			if closed < 1000 {
				return fmt.Errorf("%s closed %d connections for others", address, closed)
			}
		}
		return nil
	})
	slowest("during the floods")
	if bound := files + optionalPlaces + 30; most > bound {
		t.Errorf("the agent held %d descriptors, want %d at most", most, bound)
	}
	now := countEntries(t, pid, "task")
	if now > threads+30 {
		t.Errorf("the agent has %d threads, before the flood %d", now, threads)
	}
	t.Logf("descriptors: %d at first, %d at most; threads: %d and %d", files, most, threads, now)
}

// keyIsGood asks for a token by the key, within the time that a caller would take. The
// queue of a Unix socket may be full for a moment, which its caller is told.
func (w *world) keyIsGood(client *http.Client, url, key string) error {
	for end := time.Now().Add(waitLimit); ; {
		status, err := askWithKey(client, url, key)
		if errors.Is(err, syscall.EAGAIN) && time.Now().Before(end) {
			continue
		}
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
}

// times does something a few times and says how long each took.
func (w *world) times(n int, f func()) (took []time.Duration) {
	for range n {
		start := time.Now()
		f()
		took = append(took, time.Since(start))
	}
	return took
}

// countEntries counts the entries of a folder of a process in /proc.
func countEntries(t *testing.T, pid int, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, folder))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// guessing tries wrong keys from many threads for some seconds and prints how many
// were answered.
const guessing = `
import http.client, sys, threading, time
end, answered, lock = time.time() + float(sys.argv[1]), 0, threading.Lock()
def guess():
    global answered
    while time.time() < end:
        c = http.client.HTTPConnection("127.0.0.1", 3013, timeout=10)
        try:
            c.request("GET", "/peer/v1/id_token", headers={"Authorization": "Bearer guess"})
            status = c.getresponse().status
        except OSError:
            continue
        except http.client.HTTPException:
            continue
        finally:
            c.close()
        with lock: answered += status == 401
threads = [threading.Thread(target=guess) for _ in range(64)]
[t.start() for t in threads]
[t.join() for t in threads]
print("answered", answered, flush=True)
`

// TestGuessesOfTheKey: an ordinary user guesses as fast as it can. Its guesses are
// counted and few, the log does not fill, and who has the key gets its token.
func TestGuessesOfTheKey(t *testing.T) {
	const seconds, most, lines = 8, 400, 4
	w, key := startKeyedWorld(t)
	guesser := w.startAsNobody("guesser", guessing, fmt.Sprint(seconds))
	const series = `lanyard_local_api_requests_total{result="wrong_key"}`
	w.agent.WaitUntil(t, waitLimit, func() error {
		if n := w.metric(series); n < 15 {
			return fmt.Errorf("%d guesses are counted", n)
		}
		return nil
	})
	slowest := slices.Max(w.times(10, func() {
		if status, err := askWithKey(w.http, localAPIURL, key); status != http.StatusOK {
			t.Errorf("the right key during the guesses: %d, %v", status, err)
		}
	}))
	if !guesser.EndsWithin(waitLimit + seconds*time.Second) {
		t.Fatal("the guesser still runs")
	}
	if counted := w.metric(series); counted < 15 || counted > most {
		t.Errorf("%d guesses in %d seconds are counted, want %d at most", counted, seconds, most)
	}
	if n := strings.Count(w.agent.Output(), "has a wrong key"); n == 0 || n > lines {
		t.Errorf("the log has %d lines about the guesses, want 1 to %d", n, lines)
	}
	t.Logf("%d guesses in %d seconds (%s); the right key took %v at most", w.metric(series), seconds, strings.TrimSpace(guesser.Output()), slowest)
}
