//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// why asks the running agent what becomes of a request of a process.
func (w *world) why(pid int, arguments ...string) (status int, output string) {
	w.t.Helper()
	output, err := w.command(append([]string{"why", "--local-socket", w.path("agent.sock"), "--config", w.path("none.yaml"), "--pid", strconv.Itoa(pid)}, arguments...)...)
	return exitCode(err), output
}

// TestWhy: what lanyard why says of a process is what then happens to its request.
func TestWhy(t *testing.T) {
	w, _ := startCurlWorld(t)
	// A curl that waits: for a name server's or a server's answer it would be gone too soon.
	listener := w.listen(otherV4, "9")
	t.Cleanup(func() { _ = listener.Close() })
	waiting := func(place lab.Place) int {
		t.Helper()
		cmd := w.program(append(curlCommand(t), "http://"+otherV4.String()+":9/")...)
		process := lab.StartProcess(t, place, waitLimit, "waiting curl", cmd)
		return process.Cmd.Process.Pid
	}
	curl := waiting(w.place())
	w.wantIn(ledgerURL)
	lab.Eventually(t, waitLimit, func() error {
		status, output := w.why(curl, ledgerURL+"/account?number=4711")
		if status != 0 || strings.Contains(output, "4711") {
			return fmt.Errorf("exit status %d:\n%s", status, output)
		}
		for _, text := range []string{"as the running agent would take it now", "it is ledger-client", "one is at hand until", "is known to be ledger.test", "It would get the token"} {
			if !strings.Contains(output, text) {
				return fmt.Errorf("it does not say %q:\n%s", text, output)
			}
		}
		return nil
	})
	elsewhere := w.place()
	elsewhere.Cgroup = w.services
	for _, c := range []struct {
		name      string
		pid       int
		arguments []string
		says      []string
	}{
		{"another user", waiting(lab.Place{Cgroup: w.programs, Net: w.net, Files: w.files, User: nobodyUser()}), []string{ledgerURL}, []string{"its user is another", "user: wanted root, has"}},
		{"outside the agent's cgroup", waiting(elsewhere), []string{ledgerURL}, []string{"it watches the cgroup", "Lanyard would not see it"}},
		{"another address", curl, []string{"--address", otherV4.String(), ledgerURL}, []string{"destination_unverified", "add " + otherV4.String() + "/32 to the destination's addresses"}},
		{"another port", curl, []string{"http://" + ledgerHost + ":8081/"}, []string{"no destination has port 8081", "ledger has the host at port 8080"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, output := w.why(c.pid, c.arguments...)
			if status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			for _, text := range c.says {
				if !strings.Contains(output, text) {
					t.Errorf("it does not say %q:\n%s", text, output)
				}
			}
		})
	}
	if strings.Contains(w.agent.Output(), "4711") {
		t.Error("the agent logged a query string")
	}

	// Who is not root is not answered, and goes by a configuration that it may not read.
	cmd := exec.Command(lanyard(t), "why", "--local-socket", w.path("agent.sock"), "--config", w.path("none.yaml"), "--pid", strconv.Itoa(curl), ledgerURL)
	cmd.Env = w.serviceEnv()
	output, err := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files, User: nobodyUser()}.Output(cmd)
	if exitCode(err) != 2 || !strings.Contains(output, "the agent was not asked") || strings.Contains(output, "ledger-client") {
		t.Errorf("another user: exit status %d:\n%s", exitCode(err), output)
	}
}
