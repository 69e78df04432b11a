package why

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

type accounts struct{}

func (accounts) UserID(string) (uint32, error)  { return 1000, nil }
func (accounts) GroupID(string) (uint32, error) { return 1000, nil }

// world is one in which billing goes to the ledger, and everything is well.
func world(t *testing.T) World {
	t.Helper()
	policy, _, err := registry.Compile(registry.Resources{
		Identities: []registry.IdentitySpec{
			{Name: "billing", Match: workload.SelectorSpec{Executables: []string{"/opt/billing"}, Users: []string{"u"}}},
			{Name: "reports", Match: workload.SelectorSpec{Executables: []string{"/opt/reports"}, Users: []string{"u"}}},
			{Name: "reports-too", Match: workload.SelectorSpec{Executables: []string{"/opt/reports"}, Users: []string{"u"}}},
		},
		Destinations: []registry.DestinationSpec{
			{Name: "ledger", Hosts: []string{"ledger.test"}, Ports: []int{80}, Audience: "a", Identities: []string{"billing", "reports"}},
		},
	}, accounts{})
	if err != nil {
		t.Fatal(err)
	}
	yes := func(says string) Answer { return Answer{State: OK, Says: says} }
	return World{
		Source: "as the test says", Policy: policy,
		PathInRule: func([]string, string) bool { return true },
		Reach:      func(*workload.Process) Answer { return yes("it runs") },
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		},
		Verify: func(context.Context, *workload.Destination, string, netip.AddrPort) error { return nil },
		Token:  func(string, string) Answer { return yes("one is at hand") },
		Room:   func() Answer { return yes("1 of 2 are open") },
	}
}

func by(exe string) Subject {
	return Subject{Process: &workload.Process{Image: workload.Image{PID: 7}, Executable: exe, UID: 1000, User: "u"}}
}

func TestTheFirstNoDecides(t *testing.T) {
	no := Answer{State: No, Says: "not here", Do: "mend it"}
	for _, c := range []struct {
		name    string
		url     string
		method  string
		exe     string
		change  func(*World)
		outcome string
		step    string // that says the first no, "" for none
		says    string
	}{
		{name: "all is well", outcome: "injected"},
		{name: "by name alone", url: "ledger.test", outcome: "injected"},
		{name: "upper case, final dot", url: "HTTP://Ledger.Test.:80/", outcome: "injected"},
		{name: "nobody", exe: "/opt/sub/billing", outcome: "no_identity", step: "identity", says: "billing: exe: wanted /opt/billing, has /opt/sub/billing"},
		{name: "a bystander", exe: "/bin/other", outcome: "", step: "kernel", says: "its file's name is other"},
		{name: "a tie", exe: "/opt/reports", outcome: "identity_ambiguous", step: "identity", says: "reports and reports-too match equally well"},
		{name: "TRACE", method: "TRACE", outcome: "untouched", step: "rule"},
		{name: "TLS at another port", url: "https://ledger.test/", outcome: "not_http", step: "protocol"},
		{name: "no listener where it is", change: func(w *World) { w.Reach = func(*workload.Process) Answer { return no } }, outcome: "agent_unavailable", step: "agent", says: "not here"},
		{name: "the agent does not see it", change: func(w *World) {
			w.Reach = func(*workload.Process) Answer { return Answer{State: No, Unseen: true, Says: "not here"} }
			w.Token = func(string, string) Answer { return no }
		}, outcome: "", step: "agent", says: "not here"},
		{name: "no token", change: func(w *World) { w.Token = func(string, string) Answer { return no } }, outcome: "token_unavailable", step: "token"},
		{name: "full", change: func(w *World) { w.Room = func() Answer { return no } }, outcome: "agent_unavailable", step: "connections"},
		{name: "unverified, and no token", change: func(w *World) {
			w.Verify = func(context.Context, *workload.Destination, string, netip.AddrPort) error {
				return errors.New("another host")
			}
			w.Token = func(string, string) Answer { return no }
		}, outcome: "destination_unverified", step: "address", says: "another host"},
		{name: "not resolved", change: func(w *World) {
			w.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		}, outcome: "injected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world(t)
			if c.change != nil {
				c.change(&w)
			}
			if c.url == "" {
				c.url = "http://ledger.test/x?q=secret"
			}
			if c.exe == "" {
				c.exe = "/opt/billing"
			}
			report, err := Explain(t.Context(), Question{URL: c.url, Method: c.method, Subject: by(c.exe)}, w)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			report.Print(&out)
			if report.Outcome != c.outcome || report.Injected != (c.outcome == "injected") || strings.Contains(out.String(), "secret") {
				t.Errorf("outcome %q, injected %v:\n%s", report.Outcome, report.Injected, &out)
			}
			for _, step := range report.Steps {
				if step.State == No {
					if step.Name != c.step || !strings.Contains(step.Says, c.says) {
						t.Errorf("%s says no first, want %s with %q:\n%s", step.Name, c.step, c.says, &out)
					}
					return
				}
			}
			if c.step != "" {
				t.Errorf("no step says no:\n%s", &out)
			}
		})
	}
}

// The step about the kernel asks what the connect hook asks.
func TestConditionsOfTheKernel(t *testing.T) {
	for says, change := range map[string]func(*workload.Process){
		"its user is another":          func(p *workload.Process) { p.UID = 0 },
		"its file's name is somewhere": func(p *workload.Process) { p.Executable = "/opt/somewhere" },
		"it may be billing":            func(p *workload.Process) { p.Executable = "/elsewhere/billing" },
	} {
		subject := by("/opt/billing")
		change(subject.Process)
		report, err := Explain(t.Context(), Question{URL: "ledger.test", Subject: subject}, world(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range report.Steps {
			if step.Name == "kernel" && !strings.Contains(step.Says, says) {
				t.Errorf("it says %q, want %q", step.Says, says)
			}
		}
	}
}

// A program's path and arguments go to an administrator's terminal.
func TestNothingReachesTheTerminalRaw(t *testing.T) {
	report, err := Explain(t.Context(), Question{URL: "http://ledger.test/", Subject: by("/opt/\x1b[2Jbilling")}, world(t))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	report.Print(&out)
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("printed %q", out.String())
	}
}
