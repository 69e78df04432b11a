//go:build linux

package probe

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// otherFacts are flows that differ from one in one fact about its caller, as that
// of another process with a number that was used before would.
func otherFacts(f workload.Flow) map[string]workload.Flow {
	others := map[string]workload.Flow{}
	for name, change := range map[string]func(*workload.Flow){
		"process id": func(f *workload.Flow) { f.Image.PID++ },
		"start time": func(f *workload.Flow) { f.Image.StartTime++ },
		"exec id":    func(f *workload.Flow) { f.Image.ExecID++ },
		"user":       func(f *workload.Flow) { f.UID++ },
		"group":      func(f *workload.Flow) { f.GID++ },
		"cgroup":     func(f *workload.Flow) { f.CgroupID++ },
		"generation": func(f *workload.Flow) { f.Generation++ },
	} {
		other := f
		change(&other)
		others[name] = other
	}
	return others
}

// requireRedirected requires that one connection was, and takes it.
func (h *host) requireRedirected(t *testing.T, counts map[string]uint64) {
	t.Helper()
	if counts["redirected"] != 1 { // there would be none to accept
		t.Fatalf("counted %v, want one redirected connection", counts)
	}
	h.claim(t, unix.AF_INET)
}

func TestVerdictOfAnotherCallerSaysNothing(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	flow := h.claim(t, unix.AF_INET)
	for name, other := range otherFacts(flow) {
		t.Run(name, func(t *testing.T) {
			h.probe.Bystander(other)
			h.requireRedirected(t, h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) }))
		})
	}
	h.probe.Bystander(flow)
	counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
	requireCount(t, counts, "bystander_cached", 1)
}

func TestOnlyExactlyTheImageRuns(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	flow := h.claim(t, unix.AF_INET)
	h.requireRuns(t, c, flow.Image)
	others := otherFacts(flow)
	for _, name := range []string{"process id", "start time", "exec id"} {
		if alive, err := h.probe.Alive(others[name].Image); alive || err != nil {
			t.Errorf("with another %s it is said to run (%v)", name, err)
		}
	}
}

// The agent's exemption is that of its image: a program that the agent executes,
// or a process with its number after it, is looked at like any other.
func TestOnlyTheAgentsImageIsExempt(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	flow := h.claim(t, unix.AF_INET)
	exempt := func(f workload.Flow) map[string]uint64 {
		settings := h.probe.settings
		settings.AgentTgid = f.Image.PID
		settings.AgentImage = bpf.ConnectImage{StartTime: f.Image.StartTime, ExecId: f.Image.ExecID}
		must(t, h.probe.connect.SettingsNow.Put(uint32(0), &settings))
		return h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
	}
	requireCount(t, exempt(flow), "exempt", 1)
	others := otherFacts(flow)
	for _, name := range []string{"process id", "start time", "exec id"} {
		h.requireRedirected(t, exempt(others[name]))
	}
}
