//go:build linux

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/verify"
	"github.com/lanyardhq/lanyard/test/lab"
)

// The victim asks 100 times a second; so many requests before each flood, and during
// it, are compared.
const (
	victimEvery            = 10 * time.Millisecond
	askedBefore, askedAmid = 200, 300
	victimProgram          = "crowd-victim"
	newcomerProgram        = "crowd-newcomer" // the same file, elsewhere
	newcomers              = 5                // of the victim's identity come during each flood
	strangerProgram        = "flooder"
	greedyProgram          = "flooder-greedy"
	floodKey               = "the-key-of-this-flood"
	// floodedFiles is the agent's limit of open files: low enough that a flood of a
	// few seconds reaches every bound.
	floodedFiles = 4096
	// mostLines is how many lines a flood may have the agent log.
	mostLines = 60
)

// floodsConfig has the victim known by its content alone: every process of the host
// could be it, so that each that comes to the ledger is looked at and hashed.
const floodsConfig = `
identities:
  - name: victim
    match: {sha256: DIGEST, any_user: true}
    source: {operator: {ticket_file: FOLDER/ticket}}
  - name: greedy
    match: {exe: BUILD/flooder-greedy, user: root}
    source: {operator: {ticket_file: FOLDER/greedy-ticket}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [victim, greedy]
  - name: flooded
    hosts: [flooded.test]
    ports: [8080]
    audience: http://flooded.test:8080
    identities: [greedy]
local_api: {identity: victim}
`

// kindOfFlood is one way to use up what others need.
type kindOfFlood struct {
	name      string
	program   string
	root      bool // otherwise an ordinary user, without capabilities
	outside   bool // of what the agent watches
	processes int
	arguments []string
	least     int    // tries, of which less would be no flood
	made      bool   // whether any of them may, and must, succeed
	fails     string // how some of them have to fail, or ""
}

// forking has a child make each connection, up to 32 at once, and counts as
// test/e2e/flooder does.
const forking = `
import json, os, signal, socket, sys, time
def over(*_):
    print(json.dumps({"tries": tries, "made": tries - failed, "failed": failed, "seconds": time.time() - start}), flush=True)
    os._exit(0)
tries, failed, running, start = 0, 0, 0, time.time()
print("flooding", flush=True)
signal.signal(signal.SIGTERM, over)
while True:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            s = socket.socket() # create_connection would import half a library in each child
            s.settimeout(5)
            s.connect((sys.argv[1], int(sys.argv[2])))
            s.sendall(sys.argv[3].encode())
            os._exit(0 if s.recv(4096) else 1)
        finally:
            os._exit(1)
    running += 1
    while running >= 32:
        _, status = os.wait()
        running, tries, failed = running - 1, tries + 1, failed + (status != 0)
`

// ask is the head of a request for a path of a host.
func ask(path, host string, more ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(more, "") + "\r\n"
}

// floods lists all of them. No process of theirs is paced.
func (w *world) floods() []kindOfFlood {
	const local, optional = "127.0.0.1:3013", "127.0.0.1:3013,127.0.0.1:3014"
	injector := "127.0.0.1:" + strconv.Itoa(int(w.injectorPort()))
	ledger, flooded := ledgerV4.String()+":"+port, otherV4.String()+":"+port
	large := func(allocated int64) []string {
		return []string{"-run", w.largePrograms(20, allocated), "-workers", "20", "-times", "3", "-touch",
			"-dial", ledger, "-say", ask("/flood", ledgerHost+":"+port), "-answer"}
	}
	return []kindOfFlood{
		{name: "idle connects: local API, metrics", program: strangerProgram, processes: 2, least: 2000, made: true,
			arguments: []string{"-dial", optional, "-keep", "9900"}},
		{name: "rapid connects: local API, metrics", program: strangerProgram, processes: 2, least: 2000, made: true,
			arguments: []string{"-dial", optional}},
		{name: "half requests: local API, metrics", program: strangerProgram, processes: 2, least: 2000, made: true,
			arguments: []string{"-dial", optional, "-keep", "9900", "-say", "GET / HTTP/1.1\r\nHost: localhost\r\n"}},
		{name: "wrong keys", program: strangerProgram, processes: 2, least: 10, made: true,
			arguments: []string{"-dial", local, "-answer", "-say", ask("/peer/v1/id_token", "localhost", "Authorization: Bearer guess\r\n")}},
		{name: "one identity's share", program: greedyProgram, root: true, processes: 1, least: 2000, made: true, fails: "connection refused",
			arguments: []string{"-dial", flooded, "-keep", "9900", "-say", ask("/greedy/", "flooded.test:"+port)}},
		{name: "direct connects, hooked", program: strangerProgram, processes: 2, least: 2000, fails: "connection refused",
			arguments: []string{"-dial", injector}},
		{name: "direct connects, not hooked", program: strangerProgram, outside: true, processes: 2, least: 2000, fails: "connection refused",
			arguments: []string{"-dial", injector}},
		{name: "20 sparse programs of 1 GiB", program: strangerProgram, processes: 1, least: 20, made: true, arguments: large(0)},
		{name: "20 programs of 1 GiB, not sparse", program: strangerProgram, processes: 1, least: 20, made: true, arguments: large(1<<30/32 + 1<<20)},
		{name: "forks that connect once", program: python, processes: 1, least: 30, made: true,
			arguments: []string{"-c", forking, ledgerV4.String(), port, ask("/flood", ledgerHost+":"+port)}},
		// What forking does to a victim by itself: the difference is ours.
		{name: "the same forks, not hooked", program: python, outside: true, processes: 1, least: 30, made: true,
			arguments: []string{"-c", forking, ledgerV4.String(), port, ask("/flood", ledgerHost+":"+port)}},
	}
}

// largePrograms makes programs of 1 GiB, of which a part is allocated, that an
// ordinary user may change, and lists them.
func (w *world) largePrograms(count int, allocated int64) string {
	w.t.Helper()
	folder := filepath.Join(buildFolder, fmt.Sprintf("large-%d", allocated))
	if err := os.Mkdir(folder, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(folder) }) // else the whole build folder's end does it
	var paths []string
	for n := range count {
		path := filepath.Join(folder, strconv.Itoa(n))
		paths = append(paths, path)
		copyFile(w.t, filepath.Join(buildFolder, strangerProgram), path)
		if allocated > 0 {
			cmd := exec.Command("fallocate", "--keep-size", "--length", strconv.FormatInt(allocated, 10), path)
			if output, err := cmd.CombinedOutput(); err != nil {
				w.t.Fatalf("allocate %s: %v\n%s", path, err, output)
			}
		}
		if err := os.Truncate(path, 1<<30); err != nil {
			w.t.Fatal(err)
		}
		nobody := nobodyUser()
		if err := os.Chown(path, int(nobody.Uid), int(nobody.Gid)); err != nil {
			w.t.Fatal(err)
		}
	}
	return strings.Join(paths, ",")
}

// judge is the ledger of this test: it notes whose token each request had.
type judge struct {
	mu       sync.Mutex
	subjects map[string][]string // by path
	asked    int                 // how many requests the victim has come by, as far as is seen
}

// startJudge serves it.
func (w *world) startJudge() *judge {
	w.t.Helper()
	verifier, err := verify.New(w.t.Context(), verify.Config{
		KeysURL: authorityURL + "/operator/.well-known/jwks.json", Audience: ledgerAudience, Client: w.http,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(verifier.Close)
	j := &judge{subjects: map[string][]string{}}
	w.serve(port, verifier.Protect(j), ledgerV4)
	return j
}

func (j *judge) ServeHTTP(out http.ResponseWriter, q *http.Request) {
	claims, _ := verify.FromContext(q.Context()) // which has it: Protect lets no other pass
	j.mu.Lock()
	j.subjects[q.URL.Path] = append(j.subjects[q.URL.Path], claims.Subject)
	if number, ok := strings.CutPrefix(q.URL.Path, "/"+victimProgram+"/"); ok {
		n, _ := strconv.Atoi(number) // no number is noted by its path all the same
		j.asked = max(j.asked, n+1)
	}
	j.mu.Unlock()
	fmt.Fprintf(out, "%s token=true", q.URL.Path) // as test/e2e/crowd has it
}

// progress is how far the victim has come: the number of its next request, or of one
// that is on its way.
func (j *judge) progress() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.asked
}

// waitForMore waits until the victim has come so much further, and returns how far.
func (j *judge) waitForMore(t *testing.T, victim process, count int) int {
	t.Helper()
	want := j.progress() + count
	victim.WaitUntil(t, waitLimit, func() error {
		if got := j.progress(); got < want {
			return fmt.Errorf("the victim has come by %d requests, want %d", got, want)
		}
		return nil
	})
	return want
}

// check wants each of the victim's requests once, with one and the same token's
// subject, and that on no other request.
func (j *judge) check(t *testing.T, requests int) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	path := func(n int) string { return fmt.Sprintf("/%s/%d", victimProgram, n) }
	if len(j.subjects[path(0)]) != 1 {
		t.Fatalf("the victim's first request came with %v", j.subjects[path(0)])
	}
	victim := j.subjects[path(0)][0]
	for n := range requests {
		if got := j.subjects[path(n)]; !slices.Equal(got, []string{victim}) {
			t.Errorf("request %d of the victim came with the tokens of %v, want one, of %s", n, got, victim)
		}
		delete(j.subjects, path(n))
	}
	for path, got := range j.subjects {
		if strings.HasPrefix(path, "/"+newcomerProgram+"/") && !slices.ContainsFunc(got, func(s string) bool { return s != victim }) {
			delete(j.subjects, path)
		}
	}
	if len(j.subjects) > 0 {
		t.Errorf("others than the victim had a token: %v", j.subjects)
	}
}

// answers is what became of the victim's requests, by their numbers.
type answers []answer

type answer struct {
	took time.Duration
	err  string
}

// endVictim has the victim finish what it began and reads what it printed.
func endVictim(t *testing.T, victim process) answers {
	t.Helper()
	victim.Signal(syscall.SIGTERM)
	if !victim.EndsWithin(crowdLimit) {
		t.Fatalf("the victim still runs after %v", crowdLimit)
	}
	found := map[int]answer{}
	for line := range strings.Lines(victim.Output()) {
		var number, micros int
		if _, err := fmt.Sscan(line, &number, &micros); err != nil {
			t.Fatalf("the victim printed %q: %v", line, err)
		}
		_, problem, _ := strings.Cut(line, `"`)
		found[number] = answer{time.Duration(micros) * time.Microsecond, strings.Trim(problem, "\"\n")}
	}
	all := make(answers, len(found))
	for n := range all {
		a, ok := found[n]
		if !ok {
			t.Fatalf("the victim says nothing of its request %d of %d", n, len(all))
		}
		all[n] = a
	}
	return all
}

// failures counts what went wrong, and says what did first.
func (a answers) failures() (count int, first string) {
	for _, one := range a {
		if one.err != "" {
			count++
			if first == "" {
				first = one.err
			}
		}
	}
	return count, first
}

// percentile is the time that so many of a hundred took at most.
func (a answers) percentile(p int) time.Duration {
	var took []time.Duration
	for _, one := range a {
		took = append(took, one.took)
	}
	slices.Sort(took)
	return took[(len(took)-1)*p/100]
}

// phase is what happened around a flood: which of the victim's requests had their
// time before it and during it, and what came of the flood.
type phase struct {
	kindOfFlood
	from, start, end int
	slowest          time.Duration // of the newcomers
	lines            int           // that the agent logged
	load             float64       // of the agent, in cores
	result           floodResult
}

// floodResult is what the program counted; see test/e2e/flooder.
type floodResult struct {
	Tries, Made, Failed int
	Seconds             float64
	First               string
}

// beside runs a flood beside the victim.
func (w *world) beside(t *testing.T, f kindOfFlood, victim process, j *judge) phase {
	t.Helper()
	p := phase{kindOfFlood: f, from: j.progress()}
	p.start = j.waitForMore(t, victim, askedBefore)
	agent := w.agent.Cmd.Process.Pid
	cpu, since := cpuTime(t, agent), time.Now()
	lines := strings.Count(w.agent.Output(), "\n")
	place := w.place()
	if f.outside {
		place.Cgroup = w.services
	}
	if !f.root {
		place.User = nobodyUser()
	}
	var running []process
	for range f.processes {
		program := f.program
		if !filepath.IsAbs(program) {
			program = filepath.Join(buildFolder, program)
		}
		cmd := exec.Command(program, f.arguments...)
		running = append(running, startProcess(t, place, f.program, cmd))
	}
	for _, r := range running {
		r.waitForLog(t, "flooding")
	}
	begun := j.progress()
	p.slowest = slices.Max(w.times(newcomers, func() { w.newcomer(t) }))
	p.end = j.waitForMore(t, victim, max(0, askedAmid-(j.progress()-begun)))
	p.load = (cpuTime(t, agent) - cpu).Seconds() / time.Since(since).Seconds()
	p.lines = strings.Count(w.agent.Output(), "\n") - lines
	for _, r := range running {
		r.Signal(syscall.SIGTERM)
	}
	for _, r := range running {
		p.result.add(t, r)
	}
	return p
}

// newcomer has a program of the victim's identity make a request, whose file nobody has
// hashed yet as it is now. It is a user's who has no part in any flood.
func (w *world) newcomer(t *testing.T) {
	t.Helper()
	now, path := time.Now(), filepath.Join(buildFolder, newcomerProgram)
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
	place := w.place()
	place.User = &syscall.Credential{Uid: 64001, Gid: 64001}
	cmd := exec.Command(path, "-dial", ledgerV4.String()+":"+port, "-host", ledgerHost+":"+port,
		"-group", newcomerProgram, "-token", "-connections", "1")
	if r := (crowd{startProcess(t, place, newcomerProgram, cmd)}).result(t); r.Answered != 1 {
		t.Errorf("a newcomer of the victim's identity: %+v", r)
	}
}

// add waits for the end of a program and adds what it counted.
func (r *floodResult) add(t *testing.T, program process) {
	t.Helper()
	if !program.EndsWithin(waitLimit) {
		t.Fatalf("%s still runs after %v", program.Name, waitLimit)
	}
	var one floodResult
	_, object, _ := strings.Cut(program.Output(), "\n")
	if err := json.Unmarshal([]byte(object), &one); err != nil {
		t.Fatalf("%s printed %q: %v", program.Name, program.Output(), err)
	}
	r.Tries, r.Made, r.Failed = r.Tries+one.Tries, r.Made+one.Made, r.Failed+one.Failed
	r.Seconds = max(r.Seconds, one.Seconds)
	if r.First == "" {
		r.First = one.First
	}
}

// check wants the flood to have been one.
func (p phase) check(t *testing.T) {
	t.Helper()
	r := p.result
	if r.Tries < p.least || (r.Made > 0) != p.made || p.fails != "" && (r.Failed == 0 || !strings.Contains(r.First, p.fails)) {
		t.Errorf("%s: %+v, want %d tries or more, some that succeed: %v, and %q", p.name, r, p.least, p.made, p.fails)
	}
	if p.lines > mostLines {
		t.Errorf("%s: the agent logged %d lines, want %d at most", p.name, p.lines, mostLines)
	}
}

// startFloodedWorld makes a world with a victim's judge, a server for a greedy
// identity, and an agent that may not open many files.
func startFloodedWorld(t *testing.T) (*world, *judge) {
	t.Helper()
	w := startCrowdServer(t, otherV4)
	for name, pkg := range map[string]string{victimProgram: "crowd", strangerProgram: "flooder", greedyProgram: "flooder"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(buildFolder, name), "github.com/lanyardhq/lanyard/test/e2e/"+pkg)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, output)
		}
	}
	w.dns.Set(ledgerHost, ledgerV4)
	w.dns.Set("flooded.test", otherV4)
	w.startAuthority()
	j := w.startJudge()
	w.createTicket("ticket", "--max-uses", "1")
	w.createTicket("greedy-ticket", "--max-uses", "1")
	copyFile(t, filepath.Join(buildFolder, victimProgram), filepath.Join(buildFolder, newcomerProgram))
	content, err := os.ReadFile(filepath.Join(buildFolder, victimProgram))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(content)
	config := strings.NewReplacer("BUILD", buildFolder, "DIGEST", hex.EncodeToString(digest[:])).Replace(floodsConfig)
	w.agentEnv = append(w.agentEnv, "MIM_API_KEY="+floodKey, "LANYARD_LOG_LEVEL=info")
	agent := underFileLimit(w.agentCommand(w.config(config)), floodedFiles, floodedFiles)
	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent", agent)
	w.agent.WaitUntil(t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
	return w, j
}

// TestFloodsBesideAVictim: security.md 31. Whatever strangers and another identity do
// at full speed, each of a program's requests goes out with its own token, on new
// connections and on one that it keeps. How long they took is printed.
func TestFloodsBesideAVictim(t *testing.T) {
	w, j := startFloodedWorld(t)
	victim := process{w.startCrowd(victimProgram, "-token", "-every", victimEvery.String()).Process}
	j.waitForMore(t, victim, askedBefore)
	var phases []phase
	for _, f := range w.floods() {
		t.Run(f.name, func(t *testing.T) { phases = append(phases, w.beside(t, f, victim, j)) })
	}
	all := endVictim(t, victim)
	for _, p := range phases {
		before, during := all[p.from:p.start], all[p.start:p.end]
		failed, first := during.failures()
		t.Logf("counts: %-34s %6.0f tries/s (%d failed), victim %d requests, %d failures; p50/p99 before %v/%v, during %v/%v, newcomers %v at most; agent: %.2f cores, %d log lines",
			p.name, float64(p.result.Tries)/p.result.Seconds, p.result.Failed, len(during), failed,
			before.percentile(50), before.percentile(99), during.percentile(50), during.percentile(99), p.slowest.Round(time.Millisecond), p.load, p.lines)
		if failed > 0 {
			t.Errorf("%s: %d of the victim's %d requests failed: %s", p.name, failed, len(during), first)
		}
		p.check(t)
	}
	if failed, first := all.failures(); failed > 0 {
		t.Errorf("in all %d of the victim's %d requests failed: %s", failed, len(all), first)
	}
	j.check(t, len(all))
}
