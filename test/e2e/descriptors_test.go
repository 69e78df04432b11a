//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestFewDescriptors starts the agent under a low limit of open files, of which the
// soft one is lower still: the agent raises that, and says what it can hold.
func TestFewDescriptors(t *testing.T) {
	const hard, soft, connections = 401, 64, 104
	w := startCrowdWorld(t)
	w.stopAgent()
	limited := underFileLimit(w.agentCommand(w.crowdConfig()), soft, hard)
	w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent", limited)
	w.agent.WaitUntil(t, waitLimit, func() error { return w.getOK(metricsURL + "/readyz") })
	var limit unix.Rlimit
	if err := unix.Prlimit(w.agent.Cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	// Go may stop one below what is allowed.
	if limit.Cur < hard-1 || w.connectionLimit() != connections {
		t.Errorf("the agent may open %d files and says that it holds %d connections, want %d and %d", limit.Cur, w.connectionLimit(), hard-1, connections)
	}
	// One identity gets what is its own, and half of what is left for all.
	held := w.hold(connections / 3)
	w.wantOpen(connections / 3)
	if r := w.startCrowd(unlistedProgram, "-connections", "20").result(t); r.Answered != 20 {
		t.Errorf("another identity, beside one that holds a third: %+v", r)
	}
	held.release(t)
	if r := w.startCrowd(listedProgram, "-connections", "1000", "-workers", "8").result(t); r.Answered != 1000 {
		t.Errorf("within the limit: %+v", r)
	}
	w.stopAgent()
}

// underFileLimit is a command that may open so many files.
func underFileLimit(cmd *exec.Cmd, soft, hard int) *exec.Cmd {
	limited := exec.Command("/bin/sh", append([]string{"-c",
		fmt.Sprintf(`ulimit -Sn %d && ulimit -Hn %d && exec "$@"`, soft, hard), "sh"}, cmd.Args...)...)
	limited.Env = cmd.Env
	return limited
}

// TestNoDescriptors takes all descriptors from a running agent, then leaves it very
// few: it cannot accept, then not always dial. It lives on without spinning, nobody
// hangs, and it serves again once it may open files.
func TestNoDescriptors(t *testing.T) {
	const window, mostCPU = time.Second, 250 * time.Millisecond
	w := startCrowdWorld(t)
	pid := w.agent.Cmd.Process.Pid
	if r := w.startCrowd(listedProgram, "-connections", "10").result(t); r.Answered != 10 {
		t.Fatalf("the first connections: %+v", r)
	}
	w.wantOpen(0)

	before := limitFiles(t, pid, 0)
	waiting := w.startCrowd(listedProgram, "-connections", "50", "-workers", "50")
	w.agent.waitForLog(t, "accept failed")
	used := cpuTime(t, pid)
	time.Sleep(window) // over which the time is measured
	if used = cpuTime(t, pid) - used; used > mostCPU {
		t.Errorf("without descriptors the agent used %v of CPU in %v", used, window)
	}
	limitFiles(t, pid, before)
	if r := waiting.result(t); r != (crowdResult{Opened: 50, Answered: 50}) {
		t.Errorf("those that waited: %+v, want all answered", r)
	}
	w.wantOpen(0)

	limitFiles(t, pid, lowestFree(t, pid)+1)
	few := w.startCrowd(listedProgram, "-connections", "40", "-workers", "20").result(t)
	limitFiles(t, pid, before)
	// A caller that could not be looked at as there was no descriptor gets no token,
	// which this server does not mind: that counts as wrong.
	if few.Broken+few.Refused == 0 || few.Answered+few.Broken+few.Refused+few.Wrong != 40 {
		t.Errorf("connections that could not all be dialled: %+v, want some reset and none hanging", few)
	}
	if r := w.startCrowd(listedProgram, "-connections", "100").result(t); r != (crowdResult{Opened: 100, Answered: 100}) {
		t.Errorf("with descriptors again: %+v", r)
	}
	t.Logf("counts: %v of CPU in %v without descriptors; with few %+v", used, window, few)
	w.stopAgent()
}

// limitFiles sets the soft limit of a process's open files and returns the former.
func limitFiles(t *testing.T, pid int, files uint64) (before uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	before, limit.Cur = limit.Cur, files
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	return before
}

// lowestFree is the descriptor that the process would get next.
func lowestFree(t *testing.T, pid int) uint64 {
	t.Helper()
	for fd := uint64(0); ; fd++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil {
			return fd
		}
	}
}

// cpuTime is how long a process has run on any CPU.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	const utime, tick = 11, 10 * time.Millisecond // after the name; USER_HZ is 100
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	total := 0
	for _, field := range fields[utime : utime+2] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return time.Duration(total) * tick
}
