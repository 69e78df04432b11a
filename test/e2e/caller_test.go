//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

const python = "/usr/bin/python3"

// startPythonWorld makes a world in which root's Python is let in.
func startPythonWorld(t *testing.T) (*world, *recorder) {
	t.Helper()
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket", "--max-uses", "1")
	w.startAgent(w.config(pythonConfig(t)))
	return w, ledger
}

// pythonConfig registers root's Python.
func pythonConfig(t *testing.T) string {
	t.Helper()
	return strings.Replace(curlConfig, "/usr/bin/curl", realClient(t, "python-urllib").Executable(t), 1)
}

// prelude is Python for one connection and the requests on it.
const prelude = `
import os, signal, socket, sys
def ask(s, path):
    s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: ledger.test:8080\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = s.recv(65536)
        if not part:
            return answer.decode()
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int([l for l in head.split(b"\r\n") if l.lower().startswith(b"content-length:")][0].split(b":")[1])
    while len(body) < length:
        body += s.recv(65536)
    return head.decode().splitlines()[0]
`

const connect = `
s = socket.create_connection(("ledger.test", 8080), 15)
`

func TestForkAfterConnectKeepsTheIdentity(t *testing.T) {
	w, _ := startPythonWorld(t)
	output, err := w.run(python, "-c", prelude+connect+`
if os.fork() == 0:
    print("child", ask(s, "/child"), flush=True)
    os._exit(0)
os.wait()
print("parent", ask(s, "/parent"), flush=True)
`)
	for _, want := range []string{"child HTTP/1.1 200", "parent HTTP/1.1 200"} {
		if err != nil || !strings.Contains(output, want) {
			t.Errorf("the program printed %q (%v), want %q: the identity belongs to who connected", output, err, want)
		}
	}
}

func TestExecAfterConnectEndsTheIdentity(t *testing.T) {
	w, ledger := startPythonWorld(t)
	after := w.write("after.py", prelude+`
s = socket.socket(fileno=int(sys.argv[1]))
print("after", ask(s, "/after"), flush=True)
`)
	output, err := w.run(python, "-c", prelude+connect+fmt.Sprintf(`
print("before", ask(s, "/before"), flush=True)
s.settimeout(None) # a time-out makes the socket non-blocking, which exec would keep
s.set_inheritable(True)
os.execv(%q, [%q, %q, str(s.fileno())])
`, python, python, after))
	for _, want := range []string{"before HTTP/1.1 200", "after HTTP/1.1 503"} {
		if err != nil || !strings.Contains(output, want) {
			t.Errorf("the program printed %q (%v), want %q", output, err, want)
		}
	}
	if last := ledger.last(t); last.path != "/before" {
		t.Errorf("the last request was %s; want /before: nothing of an image that has ended reaches a closed destination", last.path)
	}
}

// TestReusedPID has a registered program connect, hand its connection to a child
// and end; another instance of it gets its process id. The connection stays that
// of the program that ended.
func TestReusedPID(t *testing.T) {
	w, ledger := startPythonWorld(t)
	results := w.path("results")
	connector := w.program(python, "-c", prelude+connect+fmt.Sprintf(`
print(ask(s, "/before"), flush=True)
child = os.fork()
if child == 0:
    signal.sigwait({signal.SIGUSR1})
    with open(%q + ".part", "w") as f: f.write(ask(s, "/after"))
    os.rename(%q + ".part", %q)
    os._exit(0)
with open(%q, "w") as f: f.write(str(child))
`, results, results, results, w.path("child")))
	// The child must not take the signal before it waits for it.
	connector.Args[2] = strings.Replace(connector.Args[2], "child = os.fork()",
		"signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\nchild = os.fork()", 1)
	output, err := os.Create(w.path("output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	connector.Stdout, connector.Stderr = output, output // a file: the child holds it open
	if err := w.place().Start(connector); err != nil {
		t.Fatal(err)
	}
	err = connector.Wait()
	printed, _ := os.ReadFile(output.Name())
	if err != nil || !strings.Contains(string(printed), "200") {
		t.Fatalf("the connector was not let in: %v\n%s", err, printed)
	}
	successor := w.startWithPID(connector.Process.Pid, python, "-c", "import time; time.sleep(60)")
	defer func() {
		_ = successor.Process.Kill()
		_ = successor.Wait()
	}()
	w.signalChild(w.path("child"), syscall.SIGUSR1)
	var answer []byte
	lab.Eventually(t, waitLimit, func() (err error) {
		answer, err = os.ReadFile(results)
		return err
	})
	if !strings.Contains(string(answer), "503") {
		t.Errorf("the child got %q, want 503", answer)
	}
	if last := ledger.last(t); last.path != "/before" {
		t.Errorf("the last request was %s; want /before: nothing of an image that has ended reaches a closed destination", last.path)
	}
}

// startWithPID starts a program that gets this process id.
func (w *world) startWithPID(pid int, command ...string) *exec.Cmd {
	w.t.Helper()
	const tries = 500
	for range tries {
		// The kernel gives the next process the next free id after this one.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			w.t.Fatalf("choose the next process id: %v", err)
		}
		cmd := w.program(command...)
		if err := w.place().Start(cmd); err != nil {
			w.t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	w.t.Fatalf("no program got process id %d in %d tries", pid, tries)
	return nil
}

// signalChild signals the process whose id a program wrote into a file.
func (w *world) signalChild(file string, signal syscall.Signal) {
	w.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	child, err := strconv.Atoi(string(content))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(child, signal); err != nil {
		w.t.Fatalf("signal process %d: %v", child, err)
	}
}

// TestFileMountedOverTheExecutable has an ordinary user make namespaces of its
// own, in which another program stands at the registered path under the same name.
func TestFileMountedOverTheExecutable(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	ledger := w.startLedger()
	w.createTicket("ticket")
	w.startAgent(w.config(strings.Replace(curlConfig, "user: root", "user: nobody", 1)))
	place := w.place()
	place.User = nobodyUser()
	curl := curlCommand(t)
	if output, err := w.runAt(place, append(curl, ledgerURL)...); err != nil {
		t.Fatalf("the user's own curl was not let in: %v\n%s", err, output)
	}
	tokens := ledger.tokens()
	impostor := filepath.Join(buildFolder, "curl")
	copyFile(t, realClient(t, "wget").Executable(t), impostor)
	script := fmt.Sprintf("mount --bind %s %s && exec %s -qO- %s", impostor, curl[0], curl[0], ledgerURL)
	output, err := w.runAt(place, "/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script)
	if err == nil || ledger.tokens() != tokens {
		t.Errorf("a program mounted over the registered one got a token: %v\n%s", err, output)
	}
	if exitCode(err) != 6 && exitCode(err) != 8 {
		t.Errorf("the program did not reach the ledger (%v), so the test shows nothing:\n%s", err, output)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestDirectConnectionToTheInjector connects to the agent's port without having
// been redirected there.
func TestDirectConnectionToTheInjector(t *testing.T) {
	w, ledger := startPythonWorld(t)
	direct := prelude + `
port, source = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if source: s.bind(("10.98.0.2", source))
s.settimeout(15)
try:
    s.connect(("127.0.0.1", port))
    print("answer", repr(ask(s, "/direct")))
except OSError as e:
    print("failed", type(e).__name__)
`
	injector := strconv.Itoa(int(w.injectorPort()))
	for name, source := range map[string]string{"any source port": "0", "rebound source port": "40123"} {
		t.Run(name, func(t *testing.T) {
			if source != "0" {
				// A redirected connection used the port before.
				output, err := w.run(python, "-c", prelude+fmt.Sprintf(`
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
s.bind(("10.98.0.2", %s))
s.settimeout(15)
s.connect(("ledger.test", 8080))
print(ask(s, "/first"))
`, source))
				if err != nil || !strings.Contains(output, "200") {
					t.Fatalf("the first connection was not let in: %v\n%s", err, output)
				}
			}
			seen := len(ledger.all())
			output, err := w.run(python, "-c", direct, injector, source)
			if err != nil || !strings.Contains(output, "failed ConnectionRefusedError") {
				t.Errorf("the direct connection ended as %q (%v), want it refused", output, err)
			}
			if len(ledger.all()) != seen {
				t.Error("a direct connection was forwarded")
			}
		})
	}
}
