//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/lanyardhq/lanyard/test/lab"
)

const socketsConfig = `
identities:
  - name: caller
    match: {exe: BUILD/socketcalls, user: root}
    source: {operator: {ticket_file: FOLDER/ticket}}
destinations:
  - name: closed
    hosts: [10.98.5.17, "fd98:5::17"]
    ports: [8080]
    audience: http://closed.test:8080
    identities: [caller]
`

// refusedByKernel is how docs/kernels.md names the steps of calls to a closed destination
// while no agent answers.
const refusedByKernel = "closed and no agent, "

// heard is what a program heard of each step of its calls.
type heard map[string]string

// difference is what a step came to without the agent and with it.
type difference struct{ without, with string }

// A program can tell that the agent is there by nothing but what docs/kernels.md lists;
// one that has no identity, by nothing at all.
func TestSocketsAreAsWithoutTheAgent(t *testing.T) {
	w := newWorld(t)
	program := filepath.Join(buildFolder, "socketcalls")
	cmd := exec.Command("go", "build", "-o", program, "github.com/lanyardhq/lanyard/test/e2e/socketcalls")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build socketcalls: %v\n%s", err, output)
	}
	bystander := filepath.Join(buildFolder, "socketcalls-bystander")
	copyFile(t, program, bystander)
	w.startSocketServers()
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")

	families := []string{"4", "6", "mapped"}
	without := map[string]heard{}
	for i, family := range families {
		without[family] = w.socketCalls(program, family, 20_000+100*i)
	}
	config := strings.ReplaceAll(socketsConfig, "BUILD", buildFolder)
	w.startAgent(w.config(config))
	found := map[string]difference{}
	for i, family := range families {
		for step, d := range differences(without[family], w.socketCalls(bystander, family, 21_000+100*i)) {
			t.Errorf("family %s: a program without an identity hears of %s: %s, without the agent %s", family, step, d.with, d.without)
		}
		note(t, found, differences(without[family], w.socketCalls(program, family, 22_000+100*i)))
	}
	if n := w.kernelEvents("redirected"); n < 50 {
		t.Errorf("%d connections were redirected: the calls were not compared", n)
	}
	w.agent.Kill()
	for i, family := range families {
		for _, call := range []string{"connect to a port where nobody listens", "connect there without waiting"} {
			refused := w.socketCalls(program, family, 23_000+100*i, "-only", call, "-nobody", "17")
			direct := maps.Clone(without[family])
			maps.DeleteFunc(direct, func(step, _ string) bool { _, made := refused[step]; return !made })
			for step, d := range differences(direct, refused) {
				note(t, found, map[string]difference{refusedByKernel + step: d})
			}
		}
	}
	w.startAgent(w.config(config))
	w.stopAgent()
	requireDocumented(t, found)
}

// socketCalls runs the program in one address family, bound to ports from this one on.
func (w *world) socketCalls(program, family string, port int, more ...string) heard {
	w.t.Helper()
	cmd := w.program(append([]string{program, "-family", family, "-port", fmt.Sprint(port)}, more...)...)
	cmd.Env = append(cmd.Env, "GODEBUG=asyncpreemptoff=1") // no signals, which end system calls
	output, err := w.place().Output(cmd)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", program, err, output)
	}
	var results heard
	if err := json.Unmarshal([]byte(output), &results); err != nil || len(results) == 0 {
		w.t.Fatalf("%s printed %q (%v)", program, output, err)
	}
	return results
}

func differences(without, with heard) map[string]difference {
	found := map[string]difference{}
	for step, what := range without {
		if with[step] != what {
			found[step] = difference{what, with[step]}
		}
	}
	for step, what := range with {
		if _, ok := without[step]; !ok {
			found[step] = difference{"", what}
		}
	}
	return found
}

// note adds what was found in one family to what was found in others, where the same must
// have been found. Addresses read the same in all but that some are mapped.
func note(t *testing.T, found, more map[string]difference) {
	t.Helper()
	plain := strings.NewReplacer("mapped ", "")
	for step, d := range more {
		d = difference{plain.Replace(d.without), plain.Replace(d.with)}
		if other, ok := found[step]; ok && other != d {
			t.Errorf("%s differs by family: %v, %v", step, other, d)
		}
		found[step] = d
	}
}

// documented is a line of the table in docs/kernels.md.
var documented = regexp.MustCompile("(?m)^\\| `([^`|]+)` \\| ([^|]+) \\| ([^|]+) \\| [^|]+ \\|$")

// requireDocumented requires that the table of differences is that of those found.
func requireDocumented(t *testing.T, found map[string]difference) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(doc), "\n## What a program can notice\n")
	if !ok {
		t.Fatal("docs/kernels.md has no section of what a program can notice")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]difference{}
	for _, line := range documented.FindAllStringSubmatch(section, -1) {
		listed[line[1]] = difference{line[2], line[3]}
	}
	for _, step := range slices.Sorted(maps.Keys(found)) {
		if d := found[step]; listed[step] != d {
			t.Errorf("%s: docs/kernels.md lists %q, want:\n| `%s` | %s | %s | why |", step, listed[step], step, d.without, d.with)
		}
		delete(listed, step)
	}
	for step, d := range listed {
		if lacks := features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval); lacks != nil && strings.HasPrefix(step, refusedByKernel) {
			continue // there the kernel itself refuses
		}
		t.Errorf("docs/kernels.md lists %s, %v: there is no such difference", step, d)
	}
}

// startSocketServers joins the world to one where the servers of test/e2e/socketcalls are.
func (w *world) startSocketServers() {
	w.t.Helper()
	servers := lab.NewNetNS(w.t)
	var at []string
	for number := 10; number <= 18; number++ {
		at = append(at, fmt.Sprintf("10.98.5.%d/24", number), fmt.Sprintf("fd98:5::%d/64", number))
	}
	lab.Connect(w.t, w.net, []string{"10.98.5.1/24", "10.98.5.9/24", "fd98:5::9/64", "fd98:5::1/64"}, servers, at)
	w.net.AddUnreachable(w.t, "10.97.99.0/24")
	w.net.AddUnreachable(w.t, "fd97::/64")
	startSocketServers(w.t, servers, w.net)
}
