//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// demoRun is a run of `lanyard demo` on this host, as a user would start it.
type demoRun struct {
	process
	folder string // where it may make temporary folders
}

func startDemo(t *testing.T, arguments ...string) *demoRun {
	t.Helper()
	lab.RequireRoot(t)
	realClients(t) // curl and wget
	cmd := exec.Command(lanyard(t), append([]string{"demo"}, arguments...)...)
	run := &demoRun{folder: t.TempDir()}
	cmd.Env = append(os.Environ(), "TMPDIR="+run.folder)
	run.process = startProcess(t, lab.Place{}, "demo", cmd)
	return run
}

// stageFolder is the demo's own folder, as it says it.
var stageFolder = regexp.MustCompile(`Everything happens in (\S+) and in the cgroup (\S+)\.`)

// checkNothingLeft fails the test for what a demo that has ended left behind.
func (d *demoRun) checkNothingLeft(t *testing.T) {
	t.Helper()
	said := stageFolder.FindStringSubmatch(d.Output())
	if said == nil {
		t.Fatalf("the demo did not say where it happens:\n%s", d.Output())
	}
	folder, cgroup := said[1], said[2]
	if left, err := os.ReadDir(d.folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v in %s (%v)", left, d.folder, err)
	}
	if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
		t.Errorf("left behind: cgroup %s (%v)", cgroup, err)
	}
	if pins := lab.Pins(t, filepath.Join("/sys/fs/bpf/lanyard", filepath.Base(folder))); len(pins) > 0 {
		t.Errorf("left behind: pins %v", pins)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), folder) {
		t.Errorf("left behind: a mount below %s (%v)", folder, err)
	}
	for _, pid := range processesNaming(t, folder) {
		t.Errorf("left behind: process %s", pid)
	}
}

// processesNaming lists the processes with a text in their command line or
// environment.
func processesNaming(t *testing.T, text string) []string {
	t.Helper()
	var found []string
	for _, file := range []string{"cmdline", "environ"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			// A process that ends meanwhile cannot be read, and is not left behind.
			if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), text) {
				found = append(found, path)
			}
		}
	}
	return found
}

func TestDemoTellsSixSteps(t *testing.T) {
	demo := startDemo(t)
	began := time.Now()
	if !demo.EndsWithin(3 * waitLimit) {
		t.Fatal("the demo did not end")
	}
	t.Logf("the demo took %v", time.Since(began).Round(time.Millisecond))
	if code := demo.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the demo ended with status %d", code)
	}
	output := demo.Output()
	rest := output
	for _, want := range []string{
		"\n1. ", "$ curl ", "HTTP/1.1 401", "\n2. ", `"ticket": "`, "\n3. ", "agent --config",
		"\n4. ", "$ curl ", "HTTP/1.1 200", `"jti"`, "\n5. ", "401 Unauthorized", "redirected", "\n6. ", "lanyard.outcome", "injected",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("the demo does not say %q after what came before", want)
		}
		rest = after
	}
	if strings.Contains(output, "\x1b") {
		t.Error("the demo writes colours to what is no terminal")
	}
	demo.checkNothingLeft(t)
}

func TestDemoInterrupted(t *testing.T) {
	for _, moment := range []string{"\n1. ", "\n3. ", "\n5. "} {
		t.Run("step "+strings.TrimSpace(moment), func(t *testing.T) {
			demo := startDemo(t)
			demo.waitForLog(t, moment)
			demo.Signal(syscall.SIGINT)
			if !demo.EndsWithin(waitLimit) {
				t.Fatal("the demo did not end after Ctrl-C")
			}
			if code := demo.Cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("the demo ended with status %d, want 1", code)
			}
			demo.checkNothingLeft(t)
		})
	}
}

func TestDemoThatIsKept(t *testing.T) {
	demo := startDemo(t, "--keep")
	demo.waitForLog(t, "Ctrl-C ends the demo")
	_, tries, _ := strings.Cut(demo.Output(), "Still running")
	command := regexp.MustCompile(`(?m)^ *\$ (sh -c .*)$`).FindStringSubmatch(tries)
	if command == nil {
		t.Fatalf("the demo does not say what to try:\n%s", tries)
	}
	output, err := exec.Command("/bin/sh", "-c", command[1]).CombinedOutput()
	if err != nil || !strings.Contains(string(output), "200 OK") {
		t.Errorf("what the demo says to try ended with %v:\n%s", err, output)
	}
	demo.stop(t)
	demo.checkNothingLeft(t)
}

func TestDemoWhereItCannotRun(t *testing.T) {
	lab.RequireRoot(t) // to become somebody else
	for _, test := range []struct {
		name    string
		place   lab.Place
		command []string
		says    string
	}{
		{"another user", lab.Place{User: nobodyUser()}, []string{lanyard(t), "demo"}, "needs root"},
		{"root without capabilities", lab.Place{}, []string{
			"setpriv", "--inh-caps=-all", "--bounding-set=-all", lanyard(t), "demo",
		}, "CAP_BPF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := test.place.Output(exec.Command(test.command[0], test.command[1:]...))
			if exitCode(err) != 2 {
				t.Errorf("the demo ended with %v, want status 2", err)
			}
			if lines := strings.Count(strings.TrimSpace(output), "\n") + 1; lines != 1 || !strings.Contains(output, test.says) {
				t.Errorf("the demo said %q, want one sentence with %q", output, test.says)
			}
		})
	}
}

// TestDemoFailsWithItsStep breaks the story: the curl that the demo finds answers
// by itself, so the first request is not refused.
func TestDemoFailsWithItsStep(t *testing.T) {
	lab.RequireRoot(t)
	realClients(t)
	tools := t.TempDir()
	fake := fmt.Sprintf("#!%s\nprintf 'HTTP/1.1 200 OK\\r\\n\\r\\n'\n", "/bin/sh")
	if err := os.WriteFile(filepath.Join(tools, "curl"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	run := &demoRun{folder: t.TempDir()}
	cmd := exec.Command(lanyard(t), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+run.folder, "PATH="+tools+":"+os.Getenv("PATH"))
	run.process = startProcess(t, lab.Place{}, "demo", cmd)
	if !run.EndsWithin(waitLimit) {
		t.Fatal("the demo did not end")
	}
	if code := run.Cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(run.Output(), "step 1: the API answered") {
		t.Errorf("the demo ended with status %d:\n%s", code, run.Output())
	}
	run.checkNothingLeft(t)
}
