//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// mostConnections is how many connections the agent holds where descriptors allow.
const mostConnections = 10_000

// fewerConnections is how the agent says at its start that they do not.
var fewerConnections = regexp.MustCompile(`limit of open files allows fewer connections.* connections=(\d+)`)

// connectionLimit is how many connections the agent said it would hold.
func (w *world) connectionLimit() int {
	w.t.Helper()
	said := fewerConnections.FindStringSubmatch(w.agent.Output())
	if said == nil {
		return mostConnections
	}
	limit, err := strconv.Atoi(said[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return limit
}

// holder is a program that holds connections, on each of which a request was made.
type holder struct {
	process
	until io.Closer
}

// hold starts the program and waits until it holds that many.
func (w *world) hold(connections int) holder {
	w.t.Helper()
	cmd := exec.Command(filepath.Join(buildFolder, idleProgram), "-connections", strconv.Itoa(connections), "-url", ledgerURL+"/"+idleProgram)
	until, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	h := holder{startProcess(w.t, w.place(), "holder", cmd), until}
	h.WaitUntil(w.t, crowdLimit, func() error {
		if h.Output() != "ready\n" {
			return fmt.Errorf("it does not hold %d connections yet: %s", connections, h.Output())
		}
		return nil
	})
	return h
}

// release has the holder close its connections and waits for its end.
func (h holder) release(t *testing.T) {
	t.Helper()
	if err := h.until.Close(); err != nil {
		t.Fatal(err)
	}
	if !h.EndsWithin(waitLimit) {
		t.Fatal("the holder of connections does not end")
	}
}

// TestManyIdleConnections has one identity hold nearly all idle connections that it
// may: half of what is guaranteed to the two, and half of what all share, so half of
// 10,000 where descriptors allow. They have to cost little, nobody else may suffer,
// and nothing stays.
func TestManyIdleConnections(t *testing.T) {
	const mostIdle, mostPerPair, soon = 40 << 20, 16 << 10, 2 * time.Second
	w := startCrowdWorld(t)
	pid := w.agent.Cmd.Process.Pid
	w.hold(1).release(t)
	w.wantOutcome("injected", 1)
	w.wantOpen(0)
	files, idle := descriptors(t, pid), resident(t, pid, "VmRSS")
	pairs := w.connectionLimit() * 2 / 5
	start := time.Now()
	held := w.hold(pairs)
	took := time.Since(start)
	full := resident(t, pid, "VmRSS")
	perPair := (full - idle) / pairs
	start = time.Now()
	r := w.startCrowd(listedProgram, "-connections", "1").result(t)
	latency := time.Since(start)
	t.Logf("counts: %d idle pairs made in %v, agent %d KiB without, %d KiB with them, %d bytes a pair, %d descriptors; a new request in %v",
		pairs, took.Round(time.Millisecond), idle>>10, full>>10, perPair, descriptors(t, pid), latency.Round(time.Millisecond))
	if idle > mostIdle || perPair > mostPerPair {
		t.Errorf("the agent takes %d bytes, and %d for each idle pair; want at most %d and %d", idle, perPair, mostIdle, mostPerPair)
	}
	if r.Answered != 1 || latency > soon {
		t.Errorf("a new request: %+v in %v", r, latency)
	}
	w.wantOpen(pairs)
	if r := w.startCrowd(unlistedProgram, "-connections", "100").result(t); r.Answered != 100 {
		t.Errorf("another identity, meanwhile: %+v", r)
	}
	held.release(t)
	w.wantQuiet(files)
	if r := w.startCrowd(listedProgram, "-connections", "100").result(t); r.Answered != 100 {
		t.Errorf("after all were closed: %+v", r)
	}
	if after := w.seen(idleProgram); after != (seen{With: pairs + 1}) {
		t.Errorf("the server saw %+v", after)
	}
}
