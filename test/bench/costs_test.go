//go:build linux

package bench

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// latency measures each arm once at the fixed rate. The clients start requests by
// the clock, whether or not earlier ones have ended on other connections.
func (l *ladder) latency(fixed load) {
	if !l.wanted.MatchString("latency") {
		return
	}
	fixed.timed = true
	for _, name := range []string{"D", "T", "R", "P", "H", "N"} {
		cell, err := l.host.measure(l.arms[name], fixed, 2**cellLength)
		if err != nil {
			l.report.Findings = append(l.report.Findings, err.Error())
			continue
		}
		slices.Sort(cell.micros)
		l.report.Latency = append(l.report.Latency, Latency{
			Arm: name, Requests: len(cell.micros),
			P50: quantile(cell.micros, 0.5), P99: quantile(cell.micros, 0.99), P999: quantile(cell.micros, 0.999),
		})
	}
}

// hooks reads the kernel's statistics of the agent's programs while connections
// of each kind of caller are made. Taking them costs each run some 50 ns, which
// are in the numbers.
func (l *ladder) hooks() {
	if !l.wanted.MatchString("hooks") {
		return
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		l.report.Findings = append(l.report.Findings, fmt.Sprintf("enable statistics: %v", err))
		return
	}
	defer stats.Close()
	unwatched := l.arms["B"]
	unwatched.new = haproxyNew
	unwatched.path = withToken
	for _, caller := range []struct {
		name string
		arm  arm
	}{{"anybody, to a port that is not watched", unwatched}, {"a bystander", l.arms["B"]}, {"a program with an identity", l.arms["P"]}} {
		before := l.programCosts()
		_, err := l.host.measure(caller.arm, load{what: "hooks", perRequest: true, connections: newConnections}, *cellLength)
		if err != nil {
			l.report.Findings = append(l.report.Findings, err.Error())
			continue
		}
		l.addHooks(caller.name, before, l.programCosts())
	}
}

// addHooks adds what each program that ran cost. Programs also run before and
// after the cell, so that runs are set in relation to those of the connect hook,
// of which each connection has one.
func (l *ladder) addHooks(caller string, before, after map[ebpf.ProgramID]programCost) {
	var rows []HookCost
	var connections float64
	for _, id := range slices.Sorted(maps.Keys(after)) {
		n := float64(after[id].RunCount - before[id].RunCount)
		if n == 0 {
			continue
		}
		if strings.HasPrefix(after[id].name, "lanyard_connect") {
			connections = n
		}
		nanos := float64(after[id].Runtime-before[id].Runtime) / n
		rows = append(rows, HookCost{Caller: caller, Program: after[id].name, Runs: n, Nanos: nanos})
	}
	for _, r := range rows {
		r.Runs /= connections
		l.report.Hooks = append(l.report.Hooks, r)
	}
}

// programCost is what the kernel says of a program. The kernel's name for it has
// 15 bytes: that of connect4 and connect6 is the same.
type programCost struct {
	name string
	*ebpf.ProgramStats
}

// programCosts are the statistics of the agent's programs.
func (l *ladder) programCosts() map[ebpf.ProgramID]programCost {
	l.b.Helper()
	costs := map[ebpf.ProgramID]programCost{}
	for _, id := range lab.HeldBPF(l.b, l.host.agent.Cmd.Process.Pid).Programs {
		program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			continue // closed meanwhile
		}
		info, err := program.Info()
		if err == nil {
			var stats *ebpf.ProgramStats
			if stats, err = program.Stats(); err == nil {
				costs[ebpf.ProgramID(id)] = programCost{info.Name, stats}
			}
		}
		program.Close()
		if err != nil {
			l.b.Fatalf("read statistics of program %d: %v", id, err)
		}
	}
	return costs
}

// memory holds idle pairs through each hop.
func (l *ladder) memory() {
	if !l.wanted.MatchString("memory") {
		return
	}
	for _, name := range []string{"P", "R", "H", "N"} {
		row, err := l.idleMemory(l.arms[name])
		if err != nil {
			l.report.Findings = append(l.report.Findings, err.Error())
			continue
		}
		l.report.Memory = append(l.report.Memory, row)
	}
}

func (l *ladder) idleMemory(a arm) (Memory, error) {
	row := Memory{Arm: a.name, Pairs: *idlePairs}
	pids, err := l.hopProcesses(a.name)
	if err != nil {
		return row, err
	}
	if row.Idle, err = resident(pids); err != nil {
		return row, err
	}
	executable := l.host.path("idle")
	if a.managed {
		executable = l.host.path(managed("idle"))
	}
	arguments := []string{"-connections", strconv.Itoa(*idlePairs), "-url", a.url(load{})}
	if a.sends {
		arguments = append(arguments, "-token", l.host.token)
	}
	cmd := exec.Command(executable, arguments...)
	input, err := cmd.StdinPipe()
	if err != nil {
		return row, err
	}
	p := lab.StartProcess(l.b, lab.Place{Cgroup: a.cgroup, Net: l.host.net}, waitLimit, "idle "+a.name, cmd)
	p.WaitUntil(l.b, 4*waitLimit, func() error {
		if !strings.Contains(p.Output(), "ready") {
			return fmt.Errorf("it does not hold %d connections yet", *idlePairs)
		}
		return nil
	})
	row.Held, err = resident(pids)
	row.PerPair = float64(row.Held-row.Idle) / float64(row.Pairs)
	_ = input.Close()
	if !p.EndsWithin(waitLimit) {
		return row, fmt.Errorf("the holder of idle connections did not end")
	}
	return row, err
}

// hopProcesses are the processes of an arm's hop: nginx has a worker beside its
// master.
func (l *ladder) hopProcesses(arm string) ([]int, error) {
	main := l.host.hop[arm].Cmd.Process.Pid
	all := []int{main}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", main, main))
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	return all, nil
}

// resident is the resident memory of processes, in KiB.
func resident(pids []int) (sum int, err error) {
	for _, pid := range pids {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(content), "VmRSS:")
		var kib int
		if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
			return 0, fmt.Errorf("read VmRSS of %d: %w", pid, err)
		}
		sum += kib
	}
	return sum, nil
}

// thisMachine says where this runs.
func thisMachine(b *testing.B) Machine {
	b.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		b.Fatal(err)
	}
	m := Machine{Cores: runtime.NumCPU(), Kernel: unix.ByteSliceToString(name.Release[:]), Versions: map[string]string{
		"Go": strings.TrimPrefix(runtime.Version(), "go"),
	}}
	if content, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(content), "model name\t: ")
		m.CPU, _, _ = strings.Cut(rest, "\n")
	}
	for program, query := range map[string][]string{
		"HAProxy": {"haproxy", "-v"}, "nginx": {"nginx", "-v"}, "h2load": {"h2load", "--version"}, "wrk": {"wrk", "-v"},
	} {
		output, _ := exec.Command(query[0], query[1:]...).CombinedOutput() // wrk -v ends with 1
		m.Versions[program] = version(string(output))
	}
	return m
}

// version finds the first word of an output that begins with a digit, or holds
// one after a slash.
func version(output string) string {
	for _, word := range strings.Fields(output) {
		_, after, found := strings.Cut(word, "/")
		if found {
			word = after
		}
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return "unknown"
}
