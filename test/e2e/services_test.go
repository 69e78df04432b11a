//go:build linux

package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Where the product listens inside the world: its defaults.
const (
	authorityURL = "http://127.0.0.1:8700"
	metricsURL   = "http://127.0.0.1:3014"
	localAPIURL  = "http://127.0.0.1:3013"
)

// startAuthority starts the authority, or starts it again, and waits until it is
// ready.
func (w *world) startAuthority() {
	w.t.Helper()
	cmd := exec.Command(lanyard(w.t), "authority")
	cmd.Env = w.serviceEnv(w.authorityEnv...)
	w.authority = startProcess(w.t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "authority", cmd)
	w.authority.WaitUntil(w.t, waitLimit, func() error { return w.getOK(authorityURL + "/readyz") })
}

// ticket is what `lanyard ticket create -o json` prints.
type ticket struct {
	ID     string `json:"name"`
	Ticket string `json:"ticket"` // the secret
}

// createTicket makes a ticket and writes its secret to a file of the world's
// folder.
func (w *world) createTicket(file string, arguments ...string) ticket {
	w.t.Helper()
	output, err := w.command(append([]string{"ticket", "create", "-o", "json"}, arguments...)...)
	if err != nil {
		w.t.Fatalf("create ticket: %v\n%s", err, output)
	}
	var made ticket
	if err := json.Unmarshal([]byte(output), &made); err != nil || made.Ticket == "" {
		w.t.Fatalf("ticket create printed %q, want an object with a ticket (%v)", output, err)
	}
	w.write(file, made.Ticket)
	return made
}

// agentCommand is the agent with this configuration, unstarted.
func (w *world) agentCommand(config string) *exec.Cmd {
	cmd := exec.Command(lanyard(w.t), "agent", "--config", w.write("agent.yaml", config), "--cgroup", w.programs.Path)
	cmd.Env = w.serviceEnv(append([]string{
		"LANYARD_BPFFS=" + w.bpffs, "LANYARD_INSTANCE=" + w.instance,
		"LANYARD_STATE_DIR=" + w.path("agent"), "LANYARD_LOCAL_SOCKET=" + w.path("agent.sock"),
		"LANYARD_AUTHORITY_URL=" + authorityURL, "OTEL_BSP_SCHEDULE_DELAY=100",
	}, w.agentEnv...)...)
	return cmd
}

// uninstall removes what agents left in the kernel, and returns what the command said.
func (w *world) uninstall(more ...string) string {
	w.t.Helper()
	output, err := w.uninstallCommand(more...)
	if err != nil {
		w.t.Errorf("uninstall: %v\n%s", err, output)
	}
	return output
}

func (w *world) uninstallCommand(more ...string) (output string, err error) {
	cmd := exec.Command(lanyard(w.t), append([]string{"agent", "--uninstall"}, more...)...)
	cmd.Env = w.serviceEnv("LANYARD_BPFFS="+w.bpffs, "LANYARD_INSTANCE="+w.instance, "LANYARD_STATE_DIR="+w.path("agent"))
	return lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(cmd)
}

// startAgent starts the agent, or starts it again, and waits until it is ready.
func (w *world) startAgent(config string) {
	w.t.Helper()
	cmd := w.agentCommand(config)
	w.agent = startProcess(w.t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent", cmd)
	w.agent.WaitUntil(w.t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
}

// refuseAgent starts the agent with a configuration that it must refuse and
// returns its exit status and what it printed.
func (w *world) refuseAgent(config string) (status int, output string) {
	w.t.Helper()
	output, err := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(w.agentCommand(config))
	return exitCode(err), output
}

// stopAgent stops the agent, uninstalls it, and checks that nothing is left behind.
func (w *world) stopAgent() {
	w.t.Helper()
	held := lab.HeldBPF(w.t, w.agent.Cmd.Process.Pid)
	if len(held.Programs) == 0 || len(held.Links) == 0 {
		w.t.Errorf("the agent holds the BPF objects %+v, want programs and links", held)
	}
	w.agent.stop(w.t)
	w.uninstall()
	held.RequireGone(w.t)
	if pins := lab.Pins(w.t, w.bpffs); len(pins) > 0 {
		w.t.Errorf("the agent and its uninstallation left pins behind: %s", strings.Join(pins, ", "))
	}
}

// reload gives the running agent another configuration.
func (w *world) reload(config string) {
	w.t.Helper()
	w.write("agent.yaml", config)
	w.agent.Signal(syscall.SIGHUP)
}

// metric reads a value of the agent's metrics: its line without the value, as
// Prometheus writes it. A metric that is not there counts 0.
func (w *world) metric(series string) uint64 {
	w.t.Helper()
	number, _ := w.findMetric(series)
	return number
}

// openConnections is how many connections the agent says it holds.
func (w *world) openConnections() int {
	w.t.Helper()
	number, found := w.findMetric("lanyard_open_connections")
	if !found {
		w.t.Fatal("the agent has no metric of open connections")
	}
	return int(number)
}

func (w *world) findMetric(series string) (number uint64, found bool) {
	w.t.Helper()
	_, body, err := w.get(metricsURL + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		value := line[strings.LastIndexByte(line, ' ')+1:]
		if !sameSeries(strings.TrimSuffix(line, " "+value), series) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.t.Fatalf("metric %s has the value %q", series, value)
		}
		return uint64(number), true
	}
	return 0, false
}

// kernelEvents reads one of the kernel's counters.
func (w *world) kernelEvents(event string) uint64 {
	w.t.Helper()
	return w.metric(`lanyard_kernel_events_total{event="` + event + `"}`)
}

// label is one label of a metric.
var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

// sameSeries reports whether a line's series has the name and every label that is
// wanted; it may have more, such as those of the instrumentation scope.
func sameSeries(have, want string) bool {
	haveName, haveLabels, _ := strings.Cut(have, "{")
	wantName, wantLabels, _ := strings.Cut(want, "{")
	if haveName != wantName {
		return false
	}
	all := label.FindAllString(haveLabels, -1)
	for _, wanted := range label.FindAllString(wantLabels, -1) {
		if !slices.Contains(all, wanted) {
			return false
		}
	}
	return true
}

// injectorPort is a port of 127.0.0.1 on which the agent accepts redirected
// connections.
func (w *world) injectorPort() uint16 {
	w.t.Helper()
	m := lab.PinnedMap(w.t, w.bpffs, w.instance, "readiness_by_netns")
	defer func() { _ = m.Close() }()
	v4, _ := lab.InjectorListeners(w.t, m, w.net, w.agent.Cmd.Process.Pid)
	return v4[0].Port()
}

// config fills a configuration: FOLDER stands for the world's folder.
func (w *world) config(yaml string) string {
	return strings.ReplaceAll(yaml, "FOLDER", filepath.Clean(w.folder))
}
