//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// crowdLimit is how long a crowd of connections may take.
const crowdLimit = 90 * time.Second

// The programs of a crowd: the first two are registered, but the ledger lists only
// the first.
const (
	listedProgram   = "crowd-listed"
	unlistedProgram = "crowd-unlisted"
	bystander       = "crowd-bystander"
	idleProgram     = "crowd-idle" // listed too
)

// buildCrowd builds the programs once.
var buildCrowd = sync.OnceValue(func() error {
	for name, pkg := range map[string]string{
		listedProgram: "e2e/crowd", unlistedProgram: "e2e/crowd", bystander: "e2e/crowd", idleProgram: "bench/idle",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(buildFolder, name), "github.com/lanyardhq/lanyard/test/"+pkg)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, output)
		}
	}
	return nil
})

const crowdConfig = `
identities:
  - name: listed
    match: {exe: [BUILD/crowd-listed, BUILD/crowd-idle], user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
  - name: unlisted
    match: {exe: BUILD/crowd-unlisted, user: root}
    source: {operator: {ticket_file: FOLDER/unlisted-ticket}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [listed]
`

// startCrowdWorld makes a world with room for many connections, a server that
// counts, and the agent.
func startCrowdWorld(t *testing.T) *world {
	t.Helper()
	w := startCrowdServer(t, ledgerV4)
	w.dns.Set(ledgerHost, ledgerV4)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")
	w.createTicket("unlisted-ticket", "--max-uses", "1")
	w.agentEnv = append(w.agentEnv, "LANYARD_LOG_LEVEL=info")
	w.startAgent(w.crowdConfig())
	return w
}

// startCrowdServer makes a world with room for many connections, and a server that
// counts at an address.
func startCrowdServer(t *testing.T, address netip.Addr) *world {
	t.Helper()
	w := newWorld(t)
	if err := buildCrowd(); err != nil {
		t.Fatal(err)
	}
	err := w.net.Do(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_tw_reuse", []byte("1"), 0); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("10000 65000"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(filepath.Join(buildFolder, bystander), "-serve", address.String()+":"+port)
	started := lab.StartProcess(t, lab.Place{Cgroup: w.services, Net: w.net}, waitLimit, "server", server)
	process{started}.waitForLog(t, "ready")
	return w
}

func (w *world) crowdConfig() string {
	return w.config(strings.ReplaceAll(crowdConfig, "BUILD", buildFolder))
}

// crowd is a program that makes many connections.
type crowd struct{ process }

// crowdResult is what it counted; see test/e2e/crowd.
type crowdResult struct {
	Opened, Answered, Refused, Broken, Hung, Wrong int
	First                                          string
}

// startCrowd starts one of the programs; its requests have the program's name as
// the first element of their paths.
func (w *world) startCrowd(program string, arguments ...string) crowd {
	w.t.Helper()
	cmd := exec.Command(filepath.Join(buildFolder, program), append([]string{
		"-dial", ledgerV4.String() + ":" + port, "-host", ledgerHost + ":" + port, "-group", program,
		"-token=" + strconv.FormatBool(program == listedProgram),
	}, arguments...)...)
	return crowd{startProcess(w.t, w.place(), program, cmd)}
}

// result waits for the end of the program and returns what it counted.
func (c crowd) result(t *testing.T) crowdResult {
	t.Helper()
	if !c.EndsWithin(crowdLimit) {
		t.Fatalf("%s still runs after %v", c.Name, crowdLimit)
	}
	var r crowdResult
	if err := json.Unmarshal([]byte(c.Output()), &r); err != nil {
		t.Fatalf("%s printed %q: %v", c.Name, c.Output(), err)
	}
	return r
}

// finish tells the program to make no more connections.
func (c crowd) finish(t *testing.T) crowdResult {
	t.Helper()
	c.Signal(syscall.SIGTERM)
	return c.result(t)
}

// seen is what the server saw of the requests of a program.
type seen struct{ With, Without, Odd int }

func (w *world) seen(program string) seen {
	w.t.Helper()
	_, body, err := w.get("http://" + ledgerV4.String() + ":" + port + "/counts")
	counts := map[string]seen{}
	if err == nil {
		err = json.Unmarshal([]byte(body), &counts)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return counts[program]
}

// resident returns how much memory of a kind (VmRSS, VmHWM) a process has, in bytes.
func resident(t *testing.T, pid int, kind string) int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, kind+":"); ok {
			var kib int
			if _, err := fmt.Sscan(value, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no %s", pid, kind)
	return 0
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// wantOpen waits until the agent holds that many connections.
func (w *world) wantOpen(count int) {
	w.t.Helper()
	lab.Eventually(w.t, waitLimit, func() error {
		if open := w.openConnections(); open != count {
			return fmt.Errorf("%d connections are open, want %d", open, count)
		}
		return nil
	})
}

// wantQuiet waits until the agent holds no connection, no flow and no more
// descriptors than before.
func (w *world) wantQuiet(files int) {
	w.t.Helper()
	w.wantOpen(0)
	pid := w.agent.Cmd.Process.Pid
	lab.Eventually(w.t, waitLimit, func() error {
		if now := descriptors(w.t, pid); now > files {
			return fmt.Errorf("the agent has %d files open, before it had %d", now, files)
		}
		entries := lab.HeldBPF(w.t, pid).Entries(w.t)
		for _, name := range []string{"handshakes", "images"} {
			if count, found := entries[name]; !found || count > 0 {
				return fmt.Errorf("%d entries are left in the map %s (found: %v) of %v", count, name, found, entries)
			}
		}
		return nil
	})
}
