//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// TestAnonymousInNoStateOfTheAgent takes the agent through the orders of start, failed
// start, stop, kill and reload, with and without an open stream, while a program whose
// identity the kernel can tell makes requests to a closed destination. The server there
// judges: none comes without a token. A bystander notices nothing.
func TestAnonymousInNoStateOfTheAgent(t *testing.T) {
	w := startCrowdWorld(t)
	listed := w.startCrowd(listedProgram, "-requests", "20", "-workers", "3")
	others := w.startCrowd(bystander, "-requests", "5", "-workers", "1")
	w.waitForMore(listedProgram, bystander)
	for _, row := range []struct {
		name string
		do   func(*world)
	}{
		{"stop, start", func(w *world) { w.endAgent(syscall.SIGTERM); w.restart() }},
		{"stop with a stream, start", (*world).stopWithStream},
		{"kill, start", func(w *world) { w.endAgent(syscall.SIGKILL); w.restart() }},
		{"kill with a stream, start", func(w *world) {
			stream := w.startStream()
			w.endAgent(syscall.SIGKILL)
			if !stream.EndsWithin(waitLimit) || !strings.Contains(stream.Output(), "ended by the other side") {
				t.Errorf("the stream of an agent that was killed printed %q", stream.Output())
			}
			w.restart()
		}},
		{"stop, starts in vain, start", func(w *world) {
			w.endAgent(syscall.SIGTERM)
			w.startInVain()
			w.restart()
		}},
		{"kill, starts in vain, start", func(w *world) {
			w.endAgent(syscall.SIGKILL)
			w.startInVain()
			w.restart()
		}},
		{"a second agent of the instance", func(w *world) {
			if status, output := w.refuseAgent(w.crowdConfig()); status != 1 || !strings.Contains(output, "another agent uses this instance") || strings.Contains(output, "former agent") {
				t.Errorf("a second agent ended with %d:\n%s", status, output)
			}
			w.waitForMore(listedProgram)
		}},
		{"reload, reload in vain, stop, start", func(w *world) {
			w.reload(w.crowdConfig() + "\n# again\n")
			w.agent.waitForLog(t, "configuration reloaded")
			w.reload("identities: 7")
			w.agent.waitForLog(t, "the former one stays in force")
			w.waitForMore(listedProgram)
			w.endAgent(syscall.SIGTERM)
			w.restart()
		}},
		{"start without its metrics", func(w *world) {
			w.endAgent(syscall.SIGTERM)
			taken := w.listen(nameAddr, "3099")
			cmd := w.agentCommand(w.crowdConfig())
			cmd.Env = append(cmd.Env, "LANYARD_METRICS="+taken.Addr().String())
			w.agent = startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "agent", cmd)
			w.agent.waitForLog(t, "msg=ready")
			w.agent.waitForLog(t, "works without one of its listeners")
			w.waitForMore(listedProgram)
			w.endAgent(syscall.SIGTERM)
			if err := taken.Close(); err != nil {
				t.Error(err)
			}
			w.restart()
		}},
		{"a listener of the injector's is lost", (*world).loseListeners},
	} {
		before := w.seen(listedProgram)
		row.do(w)
		w.waitForMore(listedProgram)
		now := w.seen(listedProgram)
		t.Logf("counts: %s: %d requests with a token, %d without", row.name, now.With-before.With, now.Without-before.Without)
		if now.Without > before.Without || now.Odd > before.Odd {
			t.Errorf("%s: the server saw %+v, before that %+v", row.name, now, before)
		}
	}
	r, saw, theirs := listed.finish(t), w.seen(listedProgram), others.finish(t)
	t.Logf("counts: anonymous requests at a closed destination: %d of %d; the program counted %+v, a bystander %+v", saw.Without, saw.With+saw.Without, r, theirs)
	if r.Hung+r.Wrong > 0 || r.Refused == 0 {
		t.Errorf("the program counted %+v; want some refused, none hung or wrong", r)
	}
	if theirs.Hung+theirs.Wrong+theirs.Refused+theirs.Broken > 0 || w.seen(bystander).With > 0 {
		t.Errorf("a bystander counted %+v, and the server saw of it %+v", theirs, w.seen(bystander))
	}
	if passed := w.kernelEvents("passed_unknown"); passed > 0 {
		t.Errorf("%d connects of the program passed as those of somebody unknown", passed)
	}
	w.stopAgent()
}

// endAgent ends the agent, and waits while a bystander goes on.
func (w *world) endAgent(signal syscall.Signal) {
	t := w.t
	t.Helper()
	w.agent.end(t, signal)
	if signal == syscall.SIGTERM {
		if code := w.agent.Cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the agent ended with status %d", code)
		}
		for _, says := range []string{"ended; hooks and pins stay", "lanyard agent --uninstall --instance e2e", "rm -r " + w.pinFolder() + "/e2e"} {
			if !strings.Contains(lastLine(w.agent.Output()), says) {
				t.Errorf("the agent's last line is %q, and does not say %q", lastLine(w.agent.Output()), says)
			}
		}
	}
	w.waitForMore(bystander)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func (w *world) restart() {
	w.t.Helper()
	w.startAgent(w.crowdConfig())
}

func (w *world) startStream() process {
	w.t.Helper()
	cmd := exec.Command(filepath.Join(buildFolder, listedProgram), "-stream", "-token",
		"-dial", ledgerV4.String()+":"+port, "-host", ledgerHost+":"+port, "-group", listedProgram)
	stream := startProcess(w.t, w.place(), "stream", cmd)
	stream.waitForLog(w.t, "streaming")
	return stream
}

// stopWithStream stops the agent while a response lasts: it waits for that, and whoever
// comes meanwhile is refused.
func (w *world) stopWithStream() {
	t := w.t
	stream := w.startStream()
	w.agent.Signal(syscall.SIGTERM)
	w.agent.waitForLog(t, "msg=\"stopping;")
	before := w.seen(listedProgram)
	w.waitForMore(bystander)
	w.waitForMore(bystander)
	if !w.agent.Running() {
		t.Error("the agent did not wait for the response that lasts")
	}
	if now := w.seen(listedProgram); now.Without > before.Without {
		t.Errorf("while the agent waited, %d requests came without a token", now.Without-before.Without)
	}
	stream.end(t, syscall.SIGTERM)
	if !strings.Contains(stream.Output(), "held to the end") {
		t.Errorf("the stream printed %q", stream.Output())
	}
	if !w.agent.EndsWithin(waitLimit) {
		t.Fatal("the agent does not end")
	}
	w.restart()
}

// startInVain starts agents that fail, each for another reason, and wants the pins to stay
// as they were.
func (w *world) startInVain() {
	t := w.t
	pins := lab.Pins(t, w.bpffs)
	if len(pins) == 0 {
		t.Fatal("there are no pins")
	}
	config := w.crowdConfig()
	file := w.write("a-file", "")
	for _, cause := range []struct {
		name, config string
		env          []string
		wrapper      string
		status       int
		says         string
	}{
		{"wrong configuration", "identities: 7", nil, "", 2, "identities"},
		{"no CA file", config, []string{"LANYARD_CA_FILE=" + w.path("none.pem")}, "", 1, "none.pem"},
		{"state folder is a file", config, []string{"LANYARD_STATE_DIR=" + file}, "", 1, "LANYARD_STATE_DIR"},
		{"no cgroup", config, []string{"LANYARD_CGROUP=" + w.folder}, "", 1, "not a cgroup2 folder"},
		{"too few open files", config, nil, "ulimit -n 60; exec AGENT", 1, "too many open files"},
	} {
		cmd := w.agentCommand(cause.config)
		if cause.name == "no cgroup" {
			cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return a == "--cgroup" || a == w.programs.Path })
		}
		if cause.wrapper != "" {
			line := "'" + strings.Join(cmd.Args, "' '") + "'"
			wrapped := exec.Command("/bin/sh", "-c", strings.ReplaceAll(cause.wrapper, "AGENT", line))
			wrapped.Env, cmd = cmd.Env, wrapped
		}
		cmd.Env = append(cmd.Env, cause.env...)
		output, err := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(cmd)
		if exitCode(err) != cause.status || !strings.Contains(output, cause.says) || !strings.Contains(output, "not started; hooks and pins of a former agent stay") {
			t.Errorf("%s: the agent ended with %v:\n%s", cause.name, err, output)
		}
		if now := lab.Pins(t, w.bpffs); !slices.Equal(now, pins) {
			t.Errorf("%s: pins are %v, were %v", cause.name, now, pins)
		}
	}
	w.waitForMore(bystander)
}

// loseListeners has the kernel end listeners of the injector's, as an administrator can.
// The agent opens them again.
func (w *world) loseListeners() {
	t := w.t
	m := lab.PinnedMap(t, w.bpffs, w.instance, "readiness_by_netns")
	defer func() { _ = m.Close() }()
	v4, _ := lab.InjectorListeners(t, m, w.net, w.agent.Cmd.Process.Pid)
	for _, listener := range v4[:2] {
		kill := exec.Command("ss", "--kill", "--listening", "--tcp", "--no-header", "sport = :"+strconv.Itoa(int(listener.Port())))
		if output, err := (lab.Place{Net: w.net}).Output(kill); err != nil || output == "" {
			t.Fatalf("end listener %v: %v\n%s", listener, err, output)
		}
		again := fmt.Sprintf("opened again\" was=%v", listener)
		w.agent.waitForLog(t, again)
	}
	w.wantReadiness("ok\n")
	now, _ := lab.InjectorListeners(t, m, w.net, w.agent.Cmd.Process.Pid)
	if len(now) != len(v4) || slices.Contains(now, v4[0]) {
		t.Errorf("the injector listens on %v, before on %v", now, v4)
	}
}

// TestFirstStartInVain leaves nothing, where no agent was before.
func TestFirstStartInVain(t *testing.T) {
	w := newWorld(t)
	cmd := w.agentCommand(w.config(curlConfig))
	cmd.Args = append(cmd.Args, "--cgroup", w.folder)
	output, err := lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(cmd)
	if exitCode(err) != 1 || !strings.Contains(output, "not a cgroup2 folder") || strings.Contains(output, "pins of a former agent") {
		t.Errorf("the agent ended with %v:\n%s", err, output)
	}
	if _, err := os.Stat(w.pinFolder()); !os.IsNotExist(err) {
		t.Errorf("left behind: %s (%v)", w.pinFolder(), err)
	}
}
