//go:build linux

package e2e

import (
	"strconv"
	"testing"
	"time"
)

// TestManyConnections opens and closes 100,000 connections: of a program that gets
// a token, of one that is redirected and gets none, and of one that is not
// redirected. What the clients, the server, the agent and the kernel count is the
// same, and nothing is left.
func TestManyConnections(t *testing.T) {
	const growth = 16 << 20
	connections := map[string]int{listedProgram: 50_000, unlistedProgram: 25_000, bystander: 25_000}
	w := startCrowdWorld(t)
	pid := w.agent.Cmd.Process.Pid
	if r := w.startCrowd(listedProgram, "-connections", "16").result(t); r.Answered != 16 {
		t.Fatalf("the first connections: %+v", r)
	}
	w.wantOutcome("injected", 16)
	files, before := descriptors(t, pid), resident(t, pid, "VmRSS")
	start := time.Now()
	var crowds []crowd
	for program, count := range connections {
		crowds = append(crowds, w.startCrowd(program, "-connections", strconv.Itoa(count)))
	}
	total := 0
	for _, c := range crowds {
		want := connections[c.Name]
		total += want
		if r := c.result(t); r != (crowdResult{Opened: want, Answered: want}) {
			t.Errorf("%s counted %+v, want %d connections and answers", c.Name, r, want)
		}
	}
	took := time.Since(start)
	w.wantOutcome("injected", uint64(16+connections[listedProgram]))
	w.wantOutcome("no_identity", uint64(connections[unlistedProgram]))
	for program, want := range map[string]seen{
		listedProgram:   {With: 16 + connections[listedProgram]},
		unlistedProgram: {Without: connections[unlistedProgram]},
		bystander:       {Without: connections[bystander]},
	} {
		if got := w.seen(program); got != want {
			t.Errorf("of %s the server saw %+v, want %+v", program, got, want)
		}
	}
	redirected := uint64(16 + connections[listedProgram] + connections[unlistedProgram])
	for event, want := range map[string]uint64{
		"watched": uint64(16 + total), "redirected": redirected, "published": redirected,
		"bystander": uint64(connections[bystander]), "no_listener": 0, "budget": 0, "state_failed": 0, "refused": 0, "taken": redirected,
		"publish_failed": 0, "withdrawn": 0, "direct": 0, "event_lost": 0,
	} {
		if got := w.kernelEvents(event); got != want {
			t.Errorf("the kernel counted %d of %s, want %d", got, event, want)
		}
	}
	w.wantQuiet(files)
	after, most := resident(t, pid, "VmRSS"), resident(t, pid, "VmHWM")
	t.Logf("counts: %d connections in %v, resident %d KiB before, %d KiB after, %d KiB at most",
		total, took.Round(time.Millisecond), before>>10, after>>10, most>>10)
	if most > before+growth {
		t.Errorf("the agent grew from %d KiB to %d KiB", before>>10, most>>10)
	}
	w.stopAgent()
}
