//go:build linux

package attack

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// attackLimit bounds one attack, besides what its tries need.
const attackLimit = 2 * time.Minute

// hands is an abstract Unix socket, which lives in the world's network namespace.
const hands = "@lanyard-attack-hands"

// program is a running one that prints its result when it ends.
type program struct {
	*lab.Process
	limit time.Duration
}

// startReady starts a program and waits until it says that it runs.
func (w *world) startReady(t *testing.T, name string, cmd *exec.Cmd) program {
	t.Helper()
	p := lab.StartProcess(t, w.as(victimUser, w.programs), waitLimit, name, cmd)
	p.WaitUntil(t, waitLimit, func() error {
		if !strings.Contains(p.Output(), "running") {
			return errors.New(name + " does not run yet")
		}
		return nil
	})
	return program{p, attackLimit}
}

// startHands starts the program to which strangers hand their connections.
func (w *world) startHands(t *testing.T) {
	t.Helper()
	w.startReady(t, "hands", exec.Command(victim(), "-hands", hands))
}

func (w *world) startVictim(t *testing.T, fastOpen bool) program {
	t.Helper()
	return w.startReady(t, "victim", exec.Command(victim(), append(ports(), "-fastopen="+strconv.FormatBool(fastOpen),
		"-target", ledgerV4.String(), "-target", ledgerV6.String(), "-target", "[::ffff:10.98.0.10]:8080", "-local", local[0])...))
}

func (w *world) startStrangers(t *testing.T, a attack) program {
	t.Helper()
	count := triesOf(a)
	cmd := exec.Command(stranger(), append(w.surroundings(), "-attack", a.name, "-tries", strconv.Itoa(count),
		"-rate", strconv.Itoa(*rate), "-hooked="+strconv.FormatBool(a.hooked))...)
	cgroup := w.outside
	if a.hooked {
		cgroup = w.programs
	}
	limit := attackLimit + time.Duration(count)*20*time.Millisecond
	return program{lab.StartProcess(t, w.as(strangerUser, cgroup), waitLimit, "strangers", cmd), limit}
}

// surroundings is what strangers know.
func (w *world) surroundings() []string {
	arguments := append(ports(), "-target", ledgerV4.String(), "-target", ledgerV6.String(), "-hands", hands)
	for _, at := range w.injectors {
		arguments = append(arguments, "-injector", at)
	}
	for _, at := range local {
		arguments = append(arguments, "-local", at)
	}
	return arguments
}

func (p program) wait(t *testing.T) {
	t.Helper()
	if !p.EndsWithin(p.limit) {
		t.Fatalf("%s still runs after %v", p.Name, p.limit)
	}
}

// finish tells the program to end and waits for what it has under way.
func (p program) finish(t *testing.T) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	p.wait(t)
}

// result reads the last line that the program printed.
func (p program) result(t *testing.T, into any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), into); err != nil {
		t.Fatalf("%s printed %q: %v", p.Name, p.Output(), err)
	}
}

// hold stops the agent for moments, if the attack says so, until the function that
// it returns is called. They are far shorter than its heartbeat's limit.
func (w *world) hold(t *testing.T, a attack) (release func()) {
	if !a.holding {
		return func() {}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var holding sync.WaitGroup
	holding.Go(func() {
		for ctx.Err() == nil {
			w.agent.Signal(syscall.SIGSTOP)
			pause(ctx)
			w.agent.Signal(syscall.SIGCONT)
			pause(ctx)
		}
	})
	release = func() {
		cancel()
		holding.Wait()
	}
	t.Cleanup(release)
	return release
}

// pause waits a moment, or until ctx ends.
func pause(ctx context.Context) {
	timer := time.NewTimer(60 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
