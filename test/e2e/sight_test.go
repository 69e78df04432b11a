//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

const unitConfig = `
identities:
  - name: unit
    match: {systemd_unit: some.service}
    source: {operator: {ticket_file: FOLDER/ticket}}
  - name: group
    match: {cgroup: /some.slice, user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
`

const executableConfig = `
identities:
  - name: program
    match: {exe: /usr/bin/curl, user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
`

const servedConfig = executableConfig + `
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [program]
    served_by: {systemd_unit: ledger.service}
`

// within is the agent, started by a shell in namespaces or with rights that a wrapper
// makes. In the script, AGENT stands for its command line.
// It is killed when ctx ends.
func (w *world) within(ctx context.Context, config, script string, wrapper ...string) *exec.Cmd {
	agent := w.agentCommand(w.config(config))
	line := "'" + strings.Join(agent.Args, "' '") + "'"
	arguments := append(wrapper, "/bin/sh", "-c", strings.ReplaceAll(script, "AGENT", line))
	cmd := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	cmd.Env = agent.Env
	return cmd
}

// ownCgroup is a container's view: the cgroup2 that it mounts begins at its own cgroup.
const ownCgroup = `mount -t cgroup2 none /mnt && exec AGENT --cgroup /mnt`

// TestFactsThatCannotBeHad starts the agent where it cannot know what its identities ask.
// It refuses, and says what to do; it runs where nobody asks that.
func TestFactsThatCannotBeHad(t *testing.T) {
	w := newWorld(t)
	place := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}
	for _, test := range []struct {
		name, config string
		script       string
		wrapper      []string
		says         []string
	}{
		{"cgroup namespace", unitConfig, ownCgroup, []string{"unshare", "--cgroup", "--mount"},
			[]string{"identity unit can match no process here, since its systemd_unit cannot be known", "identity group", "its cgroup cannot", "--cgroupns=host"}},
		{"cgroup namespace, served_by", servedConfig, ownCgroup, []string{"unshare", "--cgroup", "--mount"},
			[]string{"destination ledger gets no token here", "--cgroupns=host"}},
		{"PID namespace", executableConfig, "AGENT", []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"},
			[]string{"identity program", "its exe and user cannot be known", "--pid=host", "hostPID: true"}},
		{"no right to look at others", executableConfig, "exec AGENT", []string{"setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace"},
			[]string{"identity program", "its exe cannot be known", "CAP_SYS_PTRACE"}},
		{"no right to find cgroups", unitConfig, "exec AGENT", []string{"setpriv", "--inh-caps=-all", "--bounding-set=-dac_read_search"},
			[]string{"identity unit", "CAP_DAC_READ_SEARCH"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
			defer cancel()
			output, err := place.Output(w.within(ctx, test.config, test.script, test.wrapper...))
			if exitCode(err) != 2 {
				t.Errorf("the agent ended with %v, want a refusal (2):\n%s", err, output)
			}
			for _, text := range test.says {
				if !strings.Contains(output, text) {
					t.Errorf("it does not say %q:\n%s", text, output)
				}
			}
		})
	}
}

// TestReloadThatAsksWhatCannotBeKnown keeps the former configuration.
func TestReloadThatAsksWhatCannotBeKnown(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")
	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent",
		w.within(t.Context(), executableConfig, ownCgroup, "unshare", "--cgroup", "--mount"))
	w.agent.WaitUntil(t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
	w.reload(w.config(executableConfig + strings.TrimPrefix(unitConfig, "\nidentities:\n")))
	w.agent.waitForLog(t, "the former one stays in force")
	w.agent.waitForLog(t, "identity unit can match no process here")
	w.reload(w.config(executableConfig))
	w.agent.waitForLog(t, "configuration reloaded")
	w.agent.end(t, syscall.SIGTERM)
}

// TestHostsCgroupsInAContainer: in a cgroup namespace of its own the agent knows cgroups
// by the host's hierarchy, which is mounted, and named by --cgroup.
func TestHostsCgroupsInAContainer(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "2")
	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent",
		w.within(t.Context(), unitConfig, "exec AGENT", "unshare", "--cgroup"))
	w.agent.WaitUntil(t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
	w.stopAgent()
}

// TestPinsOfAContainer: on a BPF file system that only the agent's mount namespace has,
// the fail policy ends with that, which is said.
func TestPinsOfAContainer(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")
	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent",
		w.within(t.Context(), executableConfig, `mount -t bpf -o mode=0700 bpf "$LANYARD_BPFFS" && exec AGENT`, "unshare", "--mount"))
	w.agent.WaitUntil(t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
	w.wantReadiness("ok\ndegraded: pins: the end of the agent's container may leave closed destinations open: the BPF file system at " + w.bpffs)
	w.agent.waitForLog(t, "the fail policy may end with this container")
	if problems := w.metric(`lanyard_problems{severity="degraded"}`); problems != 1 {
		t.Errorf("lanyard_problems is %d, want 1", problems)
	}
	w.agent.end(t, syscall.SIGTERM)
	if output := w.agent.Output(); !strings.Contains(output, "hooks and pins may end with the agent's container") {
		t.Error("the agent ends without a word on that")
	}
	if pins := lab.Pins(t, w.bpffs); len(pins) > 0 {
		t.Errorf("pins are on the host: %v", pins)
	}
}
