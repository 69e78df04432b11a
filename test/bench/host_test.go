//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

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
	*stage
	clients *lab.Cgroup // above the next three
	direct  *lab.Cgroup // no hooks
	watched *lab.Cgroup // the agent's hooks
	relayed *lab.Cgroup // the hooks of arm R
	hops    *lab.Cgroup
	server  *lab.Cgroup

	token string // what the origin wants
	agent *lab.Process
	hop   map[string]*lab.Process // by the name of the arm
	asked uint64                  // requests for the origin's counters
}

// newHost builds a host with everything running.
func newHost(b *testing.B) *host {
	b.Helper()
	cgroup := lab.NewCgroup(b)
	h := &host{stage: newStage(b), hop: map[string]*lab.Process{}}
	h.clients = cgroup.Sub(b, "clients")
	h.direct, h.watched, h.relayed = h.clients.Sub(b, "direct"), h.clients.Sub(b, "watched"), h.clients.Sub(b, "relayed")
	h.hops, h.server = cgroup.Sub(b, "hops"), cgroup.Sub(b, "server")
	h.net.AddLocal(b, address+"/32")
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

// install builds our programs and gives the managed clients names of their own: it
// is by name that the kernel tells them from bystanders.
func (h *host) install() {
	h.b.Helper()
	for name, pkg := range map[string]string{"lanyard": "cmd/lanyard", "relay": "test/bench/relay", "idle": "test/bench/idle"} {
		h.build(name, pkg)
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
		"LANYARD_BPFFS="+lab.NewAgentBPFFS(h.b), "LANYARD_INSTANCE=bench", "LANYARD_STATE_DIR="+h.path("agent"),
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
