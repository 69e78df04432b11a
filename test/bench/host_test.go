//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a part to be ready or to end.
const waitLimit = 30 * time.Second

// Where everything listens, inside a network namespace of its own. All clients
// name the origin's address as host, so that heads are equally long.
const (
	address     = "10.98.0.10"
	originPort  = "8080"
	haproxyPort = "8081"
	nginxPort   = "8082"
	haproxyNew  = "8083" // without reuse of connections
	nginxNew    = "8084"
	statusPort  = "8099" // of the origin's counters

	authorityURL = "http://127.0.0.1:8700"
	healthURL    = "http://127.0.0.1:3014"
)

// host is a host of the benchmark's own: clients, hops and the origin each have a
// cgroup, whose CPU time is counted.
type host struct {
	b       *testing.B
	folder  string
	net     *lab.NetNS
	clients *lab.Cgroup // above the next three
	direct  *lab.Cgroup // no hooks
	watched *lab.Cgroup // the agent's hooks
	relayed *lab.Cgroup // the hooks of arm R
	hops    *lab.Cgroup
	server  *lab.Cgroup
	http    *http.Client

	token string // what the origin wants
	agent *lab.Process
	hop   map[string]*lab.Process // by the name of the arm
	asked uint64                  // requests for the origin's counters
}

// newHost builds a host with everything running.
func newHost(b *testing.B) *host {
	b.Helper()
	cgroup := lab.NewCgroup(b)
	h := &host{b: b, folder: b.TempDir(), net: lab.NewNetNS(b), hop: map[string]*lab.Process{}}
	h.clients = cgroup.Sub(b, "clients")
	h.direct, h.watched, h.relayed = h.clients.Sub(b, "direct"), h.clients.Sub(b, "watched"), h.clients.Sub(b, "relayed")
	h.hops, h.server = cgroup.Sub(b, "hops"), cgroup.Sub(b, "server")
	h.net.AddLocal(b, address+"/32")
	h.widenPorts()
	h.http = &http.Client{Transport: &http.Transport{DialContext: h.dial, DisableKeepAlives: true}, Timeout: waitLimit}
	h.install()
	h.startAuthority()
	h.startAgent()
	h.token = h.agentToken()
	h.startOrigin()
	h.startRelay()
	h.startHAProxy()
	h.startNginx()
	return h
}

// widenPorts lets a client have more than 28,000 connections behind it: those
// just closed keep their ports for a while.
func (h *host) widenPorts() {
	h.b.Helper()
	err := h.net.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("10000 65535"), 0)
	})
	if err != nil {
		h.b.Fatalf("widen the range of ports: %v", err)
	}
}

func (h *host) dial(_ context.Context, network, to string) (conn net.Conn, err error) {
	err = h.net.Do(func() error {
		conn, err = net.DialTimeout(network, to, waitLimit)
		return err
	})
	return conn, err
}

func (h *host) path(name string) string { return filepath.Join(h.folder, name) }

func (h *host) write(name, content string) string {
	h.b.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		h.b.Fatal(err)
	}
	return h.path(name)
}

// install builds our programs, with their symbols for whoever profiles them, and
// gives the managed clients names of their own: it is by name that the kernel tells
// them from bystanders.
func (h *host) install() {
	h.b.Helper()
	for name, pkg := range map[string]string{"lanyard": "cmd/lanyard", "relay": "test/bench/relay", "idle": "test/bench/idle"} {
		build := exec.Command("go", "build", "-o", h.path(name), "github.com/lanyardhq/lanyard/"+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			h.b.Fatalf("build %s: %v\n%s", pkg, err, output)
		}
	}
	for _, name := range []string{"h2load", "wrk"} {
		found, err := exec.LookPath(name)
		if err != nil {
			h.b.Fatalf("%v: run `make bench`, which installs it", err)
		}
		h.copyExecutable(found, managed(name))
	}
	h.copyExecutable(h.path("idle"), managed("idle"))
}

// managed is the name of a client's copy that has an identity.
func managed(name string) string { return name + "-billing" }

func (h *host) copyExecutable(from, name string) {
	h.b.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(h.path(name), content, 0o755)
	}
	if err != nil {
		h.b.Fatalf("copy %s: %v", from, err)
	}
}

// start starts a part of the host.
func (h *host) start(name string, cgroup *lab.Cgroup, command []string, env ...string) *lab.Process {
	h.b.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.folder}, env...)
	return lab.StartProcess(h.b, lab.Place{Cgroup: cgroup, Net: h.net}, waitLimit, name, cmd)
}

// get returns the body of a URL inside the host.
func (h *host) get(url string) (string, error) {
	response, err := h.http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, body)
	}
	return string(body), err
}

// awaitOK waits until a part answers at a URL.
func (h *host) awaitOK(p *lab.Process, url string) {
	h.b.Helper()
	p.WaitUntil(h.b, waitLimit, func() error {
		_, err := h.get(url)
		return err
	})
}

// startAuthority starts the authority, outside all that is measured, and makes a
// ticket. Its tags make the token as long as tokens are in earnest.
func (h *host) startAuthority() {
	h.b.Helper()
	env := []string{"LANYARD_DATA_DIR=" + h.path("authority"), "LANYARD_ADMIN_TOKEN_FILE=" + h.path("authority/admin-token")}
	p := h.start("authority", nil, []string{h.path("lanyard"), "authority"}, env...)
	h.awaitOK(p, authorityURL+"/readyz")
	create := exec.Command(h.path("lanyard"), "ticket", "create", "-o", "json",
		"--tag", "environment=production", "--tag", "team=payments-and-invoices", "--tag", "service=billing-worker",
		"--tag", "region=eu-central-1", "--tag", "cost-center=4711")
	create.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+h.folder)
	output, err := lab.Place{Net: h.net}.Output(create)
	var made struct{ Ticket string }
	if err == nil {
		err = json.Unmarshal([]byte(output), &made)
	}
	if err != nil || made.Ticket == "" {
		h.b.Fatalf("make ticket: %v\n%s", err, output)
	}
	h.write("ticket", made.Ticket)
}

// startAgent starts the product as its users do, with its defaults.
func (h *host) startAgent() {
	h.b.Helper()
	config := h.write("agent.yaml", `
identities:
  - name: billing
    match:
      exe: [`+strings.Join([]string{h.path(managed("h2load")), h.path(managed("wrk")), h.path(managed("idle"))}, ", ")+`]
      user: root
    source: {operator: {ticket_file: `+h.path("ticket")+`}}
destinations:
  - name: ledger
    hosts: [`+address+`]
    ports: [`+originPort+`]
    audience: https://ledger.internal
    identities: [billing]
`)
	h.agent = h.start("agent", h.hops, []string{h.path("lanyard"), "agent", "--config", config, "--cgroup", h.watched.Path},
		"LANYARD_BPFFS="+lab.NewBPFFS(h.b), "LANYARD_INSTANCE=bench", "LANYARD_STATE_DIR="+h.path("agent"),
		"LANYARD_LOCAL_SOCKET="+h.path("agent.sock"), "LANYARD_AUTHORITY_URL="+authorityURL)
	h.hop["P"] = h.agent
	h.awaitOK(h.agent, healthURL+"/readyz")
}

// agentToken lets a managed client make a request to a server that keeps what it
// was sent. All arms then use this one token, which the agent renews only when
// four fifths of its life are over.
func (h *host) agentToken() string {
	h.b.Helper()
	seen := make(chan string, 1)
	var listener net.Listener
	err := h.net.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(address, originPort))
		return err
	})
	if err != nil {
		h.b.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: waitLimit, Handler: http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case seen <- strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "):
		default:
		}
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends when it is closed
	}()
	output, err := lab.Place{Cgroup: h.watched, Net: h.net}.Output(exec.Command(h.path(managed("idle")), "-url", "http://"+address+":"+originPort+"/"))
	server.Close()
	<-ended
	select {
	case token := <-seen:
		if token != "" {
			return token
		}
	default:
	}
	h.b.Fatalf("no token was seen (%v):\n%s", err, output)
	return ""
}

// startRelay starts the arm R.
func (h *host) startRelay() {
	h.b.Helper()
	p := h.start("relay", h.hops, []string{h.path("relay"), "-cgroup", h.relayed.Path, "-bpffs", lab.NewBPFFS(h.b), "-port", originPort})
	h.hop["R"] = p
	p.WaitUntil(h.b, waitLimit, func() error {
		if !strings.Contains(p.Output(), "ready") {
			return fmt.Errorf("the relay is not ready")
		}
		return nil
	})
}
