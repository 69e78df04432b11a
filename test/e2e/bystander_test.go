//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

const bystandersConfig = `
identities:
  - name: unit
    match: {systemd_unit: billing.service}
    source: {operator: {ticket_file: FOLDER/ticket}}
  - name: units
    match: {systemd_unit: "batch-*.service"}
    source: {operator: {ticket_file: FOLDER/ticket-units}}
  - name: file
    match: {exe: [BUILD/crowd-listed, BUILD/crowd-idle], user: root}
    source: {operator: {ticket_file: FOLDER/ticket-file}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [unit, units, file]
`

// bystanders are programs of every kind that no identity matches, beside an agent.
type bystanders struct {
	*world
	config string
	same   string // another file of the name that an identity's has
	other  *lab.Cgroup
	made   int // cgroups
	runs   int
}

// startBystanders makes a world with units, and an agent that holds few connections.
func startBystanders(t *testing.T) *bystanders {
	t.Helper()
	w := newWorld(t)
	if err := buildCrowd(); err != nil {
		t.Fatal(err)
	}
	b := &bystanders{world: w, same: w.path(listedProgram)}
	w.programs = lab.NewSlice(t)
	b.other = w.programs.Sub(t, "other.service")
	copyFile(t, filepath.Join(buildFolder, listedProgram), b.same)
	w.dns.Set(ledgerHost, ledgerV4)
	w.startAuthority()
	server := exec.Command(filepath.Join(buildFolder, bystander), "-serve", ledgerV4.String()+":"+port)
	process{lab.StartProcess(t, lab.Place{Cgroup: w.services, Net: w.net}, waitLimit, "server", server)}.waitForLog(t, "ready")
	for _, file := range []string{"ticket", "ticket-units", "ticket-file"} {
		w.createTicket(file, "--max-uses", "1")
	}
	w.agentEnv = append(w.agentEnv, "LANYARD_LOG_LEVEL=info")
	b.config = w.config(strings.ReplaceAll(bystandersConfig, "BUILD", buildFolder))
	b.startLimited()
	return b
}

// startLimited starts the agent with room for 136 connections, of which all share
// 68 and each identity has 22.
func (b *bystanders) startLimited() {
	b.t.Helper()
	agent := b.agentCommand(b.config)
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 401 && exec "$@"`, "sh"}, agent.Args...)...)
	limited.Env = agent.Env
	b.agent = startProcess(b.t, lab.Place{Cgroup: b.services, Net: b.net, Files: b.files}, "agent", limited)
	b.agent.WaitUntil(b.t, waitLimit, func() error { return b.getOK(metricsURL + "/readyz") })
}

func (b *bystanders) at(cgroup *lab.Cgroup) lab.Place {
	place := b.place()
	place.Cgroup = cgroup
	return place
}

// newCgroup makes a cgroup that nobody has connected from.
func (b *bystanders) newCgroup(suffix string) *lab.Cgroup {
	b.t.Helper()
	b.made++
	return b.programs.Sub(b.t, fmt.Sprintf("new-%d%s", b.made, suffix))
}

func (b *bystanders) crowd(place lab.Place, program, group string, arguments ...string) crowd {
	b.t.Helper()
	cmd := exec.Command(program, append([]string{
		"-dial", ledgerV4.String() + ":" + port, "-host", ledgerHost + ":" + port, "-group", group,
	}, arguments...)...)
	return crowd{startProcess(b.t, place, group, cmd)}
}

const bystanderConnections = 40

// start starts a program of each kind, which makes some connections.
func (b *bystanders) start() map[string]crowd {
	b.t.Helper()
	b.runs++
	listed, plain := filepath.Join(buildFolder, listedProgram), filepath.Join(buildFolder, bystander)
	nobody := b.at(b.other)
	nobody.User = nobodyUser()
	crowds := map[string]crowd{}
	for kind, where := range map[string]struct {
		place   lab.Place
		program string
	}{
		"same name elsewhere":    {b.at(b.other), b.same},
		"same file, other user":  {nobody, listed},
		"same user, other file":  {b.at(b.other), plain},
		"new unit":               {b.at(b.newCgroup(".service")), plain},
		"new cgroup":             {b.at(b.newCgroup("")), plain},
		"new unit and same name": {b.at(b.newCgroup(".service")), b.same},
	} {
		group := fmt.Sprintf("%d-%s", b.runs, strings.ReplaceAll(strings.ReplaceAll(kind, " ", "-"), ",", ""))
		crowds[kind] = b.crowd(where.place, where.program, group, "-connections", strconv.Itoa(bystanderConnections), "-workers", "4")
	}
	return crowds
}

// requireUnharmed requires that every connection was answered.
func (b *bystanders) requireUnharmed(state string, crowds map[string]crowd) {
	b.t.Helper()
	for kind, c := range crowds {
		r, saw := c.result(b.t), b.seen(c.Name)
		b.t.Logf("counts: %-26s %-24s opened %d, answered %d, refused %d, reset %d, hung %d; the server saw %d, %d with a token",
			state, kind, r.Opened, r.Answered, r.Refused, r.Broken, r.Hung, saw.Without+saw.With, saw.With)
		if want := (crowdResult{Opened: bystanderConnections, Answered: bystanderConnections}); r != want || saw != (seen{Without: bystanderConnections}) {
			b.t.Errorf("%s: %s counted %+v, and the server saw %+v of it", state, kind, r, saw)
		}
	}
}

// refusedNow waits until the kernel refuses an identity: no agent answers.
func (b *bystanders) refusedNow() {
	b.t.Helper()
	lab.Eventually(b.t, waitLimit, func() error {
		output, _ := b.runAt(b.at(b.other), "timeout", "-s", "KILL", "1", filepath.Join(buildFolder, listedProgram), "-token", "-group", "probe",
			"-dial", ledgerV4.String()+":"+port, "-host", ledgerHost+":"+port, "-connections", "1", "-workers", "1")
		if !strings.Contains(output, `"refused":1`) {
			return fmt.Errorf("an identity's program is not refused yet: %q", output)
		}
		return nil
	})
}

// TestBystandersAreNeverHarmed has programs of every kind that no identity matches
// connect to a closed destination in every state of the agent.
func TestBystandersAreNeverHarmed(t *testing.T) {
	b := startBystanders(t)
	long := b.crowd(b.at(b.other), b.same, "long-known")
	listed := filepath.Join(buildFolder, listedProgram)
	b.waitForMore("long-known")

	b.requireUnharmed("running", b.start())

	full := b.crowd(b.at(b.programs.Sub(t, "hungry.service")), listed, "identity", "-token", "-workers", "120", "-requests", "20")
	before := b.kernelEvents("budget")
	lab.Eventually(t, waitLimit, func() error {
		if b.kernelEvents("budget") == before {
			return fmt.Errorf("the identity has not used up its share")
		}
		return nil
	})
	b.requireUnharmed("full by an identity", b.start())
	full.finish(t)

	before = b.kernelEvents("budget")
	b.agent.Signal(syscall.SIGSTOP) // so that what is redirected stays
	flood := b.crowd(b.at(b.other), b.same, "stranger", "-connections", "100", "-workers", "100")
	lab.Eventually(t, waitLimit, func() error {
		if saw := b.seen("stranger"); saw.Without == 0 {
			return fmt.Errorf("the stranger has not used up its share")
		}
		return nil
	})
	crowds := b.start()
	b.waitForMore("long-known")
	b.agent.Signal(syscall.SIGCONT)
	b.requireUnharmed("full by a stranger", crowds)
	if r := flood.result(t); r.Refused+r.Broken+r.Hung+r.Wrong > 0 || b.kernelEvents("budget") == before {
		t.Errorf("the stranger: %+v, and the kernel counted %d over a budget", r, b.kernelEvents("budget")-before)
	}

	crowds = b.start()
	for range 30 {
		b.write("next.yaml", b.config)
		if err := os.Rename(b.path("next.yaml"), b.path("agent.yaml")); err != nil { // never half written
			t.Fatal(err)
		}
		b.agent.Signal(syscall.SIGHUP)
		if _, _, err := b.get(metricsURL + "/readyz"); err != nil {
			t.Fatal(err)
		}
	}
	b.requireUnharmed("reloading", crowds)

	b.agent.Signal(syscall.SIGSTOP)
	b.refusedNow()
	b.requireUnharmed("hung", b.start())
	b.agent.Signal(syscall.SIGCONT)

	b.agent.Kill()
	b.refusedNow()
	b.requireUnharmed("dead", b.start())
	b.waitForMore("long-known")

	b.startLimited()
	b.requireUnharmed("started again", b.start())

	b.agent.end(t, syscall.SIGTERM)
	b.refusedNow()
	b.requireUnharmed("stopped", b.start())
	b.waitForMore("long-known")
	b.startLimited()
	r, saw := long.finish(t), b.seen("long-known")
	t.Logf("counts: %-26s %-24s opened %d, answered %d, refused %d, reset %d, hung %d", "all of these", "long-known", r.Opened, r.Answered, r.Refused, r.Broken, r.Hung)
	if r.Refused+r.Broken+r.Hung+r.Wrong > 0 || saw.With > 0 {
		t.Errorf("long-known counted %+v, and the server saw %+v of it", r, saw)
	}
	b.stopAgent()
}

// TestReplacedExecutableIsNeverMissed replaces an identity's executable and starts it
// at once, again and again, as upgrades of a package do. Then the agent dies.
func TestReplacedExecutableIsNeverMissed(t *testing.T) {
	const times = 1000
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.dns.Set(ledgerHost, ledgerV4)
	client := w.path("client")
	copyFile(t, realClient(t, "curl").Executable(t), client)
	w.startAgent(w.config(strings.Replace(curlConfig, "/usr/bin/curl", client, 1)))
	script := fmt.Sprintf(`for i in $(seq %d); do
	cp %s %s.new && mv -f %s.new %s && %s --silent --show-error --fail-with-body --output /dev/null %s/$i || exit
done`, times/10, realClient(t, "curl").Executable(t), client, client, client, client, ledgerURL)
	for range 10 {
		if output, err := w.run("sh", "-c", script); err != nil {
			t.Fatalf("a program that was replaced was not let in: %v\n%s", err, output)
		}
	}
	anonymous := 0
	for _, q := range ledger.all() {
		if q.token == "" {
			anonymous++
		}
	}
	t.Logf("counts: %d starts of a replaced executable, %d requests, %d without a token", times, len(ledger.all()), anonymous)
	if len(ledger.all()) != times || anonymous > 0 {
		t.Errorf("the server saw %d requests, and %d of them without a token; want %d and none", len(ledger.all()), anonymous, times)
	}

	w.agent.Kill()
	const after = 20
	for range after {
		if output, err := w.run(client, "--silent", "--show-error", "--output", "/dev/null", ledgerURL); exitCode(err) != 7 {
			t.Errorf("with the agent dead the program ended with %v, want a failed connect (7):\n%s", err, output)
		}
	}
	if now := len(ledger.all()); now != times {
		t.Errorf("with the agent dead %d of %d connections of a program that was recognised arrived without a token", now-times, after)
	}
	w.startAgent(w.config(strings.Replace(curlConfig, "/usr/bin/curl", client, 1)))
	w.stopAgent()
}
