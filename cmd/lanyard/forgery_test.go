package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/freeport"
	"github.com/lanyardhq/lanyard/test/forgery"
	"github.com/lanyardhq/lanyard/test/lab"
)

// receiver is a program that is asked with tokens.
type receiver struct {
	name    string
	path    string // of a request that a token lets in
	command func(t *testing.T, address, keysURL string) *exec.Cmd
}

// receivers are our program and the examples of docs/examples, as they are run.
var receivers = []receiver{
	{"lanyard verify --listen", "/any/path", func(t *testing.T, address, keysURL string) *exec.Cmd {
		return exec.Command(lanyardProgram(t), "verify", "--listen", address, "--jwks-url", keysURL, "--audience", forgery.Audience)
	}},
	{"go-server", "/protected", func(t *testing.T, address, keysURL string) *exec.Cmd {
		program := filepath.Join(t.TempDir(), "go-server")
		mustRun(t, "../..", "go", "build", "-o", program, "./docs/examples/go-server")
		return exec.Command(program, address, keysURL, forgery.Audience)
	}},
	{"node-server", "/protected", func(t *testing.T, address, keysURL string) *exec.Cmd {
		dir := t.TempDir()
		mustRun(t, dir, "npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "jose@6.2.18")
		script, err := os.ReadFile("../../docs/examples/node-server/server.mjs")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "server.mjs"), script, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command("node", filepath.Join(dir, "server.mjs"), address, keysURL, forgery.Audience)
	}},
}

// lanyardProgram is this test binary by the program's name.
func lanyardProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	path := filepath.Join(t.TempDir(), programName)
	if err == nil {
		err = os.Symlink(self, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// No program that receives tokens lets a forged one in, and each lets the genuine
// ones in, of every algorithm that it knows.
func TestReceiversRefuseForgeries(t *testing.T) {
	for _, r := range receivers {
		t.Run(r.name, func(t *testing.T) {
			issuer := forgery.NewIssuer(t)
			address, err := freeport.Address()
			if err != nil {
				t.Fatal(err)
			}
			runReceiver(t, r.command(t, address, issuer.KeysURL))
			ask := func(token string) int { return forgery.Ask(t, address, r.path, token) }
			lab.Eventually(t, waitLimit, func() error { return wantRefusal(address, r.path) })
			for _, algorithm := range forgery.Algorithms {
				if status := ask(issuer.Genuine(algorithm, forgery.Audience)); status != http.StatusOK {
					t.Errorf("the genuine token by %s: %d", algorithm, status)
				}
			}
			forged := issuer.Forgeries()
			if strings.HasPrefix(r.name, programName) {
				forged = append(forged, issuer.Misissued()...)
			}
			for _, f := range forged {
				if status := ask(f.Token); status == http.StatusOK {
					t.Errorf("%s: accepted", f.Name)
				}
			}
			t.Logf("%d forged tokens", len(forged))
			if status := ask(issuer.Genuine("ES256", forgery.Audience)); status != http.StatusOK {
				t.Errorf("the genuine token after them: %d", status)
			}
			if issuer.Strays() > 0 {
				t.Errorf("%d requests to where a token pointed", issuer.Strays())
			}
		})
	}
}

// While the issuer's keys cannot be had, each program says so, of the token nothing, and
// goes on within seconds once they can.
func TestReceiversWhoseIssuerStartsLater(t *testing.T) {
	for name, before := range map[string]http.HandlerFunc{
		"gateway": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"error":"try again later"}`) },
	} {
		for _, r := range receivers {
			t.Run(r.name+", "+name, func(t *testing.T) {
				t.Parallel()
				testIssuerStartsLater(t, r, before)
			})
		}
	}
}

func testIssuerStartsLater(t *testing.T, r receiver, before http.HandlerFunc) {
	issuer := forgery.NewIssuer(t)
	keys, err := url.Parse(issuer.KeysURL)
	if err != nil {
		t.Fatal(err)
	}
	var started atomic.Bool
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = keys }}
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !started.Load() {
			before(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(late.Close)
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	runReceiver(t, r.command(t, address, late.URL))
	lab.Eventually(t, waitLimit, func() error { return wantRefusal(address, r.path) })
	token := issuer.Genuine("ES256", forgery.Audience)
	if status := forgery.Ask(t, address, r.path, token); status != http.StatusServiceUnavailable {
		t.Errorf("without keys: %d", status)
	}
	started.Store(true)
	lab.Eventually(t, waitLimit, func() error {
		if status := forgery.Ask(t, address, r.path, token); status != http.StatusOK {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
}

func wantRefusal(address, path string) error {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		return errors.New("without a token it answers " + response.Status)
	}
	return nil
}

// runReceiver runs a program until the test ends.
func runReceiver(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd, &output)
		}
	})
}

// The command line refuses every forged token, and where it is a process of its own,
// which is slow to start, those with claims that nobody signed.
func TestVerifyCommandRefusesForgeries(t *testing.T) {
	issuer := forgery.NewIssuer(t)
	flags := []string{"verify", "--jwks-url", issuer.KeysURL, "--audience", forgery.Audience}
	program := lanyardProgram(t)
	asProcess := func(token string) (int, string) {
		cmd := exec.Command(program, append(flags, "-")...)
		cmd.Stdin = strings.NewReader(token)
		output, _ := cmd.CombinedOutput() // the exit code says it
		return cmd.ProcessState.ExitCode(), string(output)
	}
	inProcess := func(token string) (int, string) {
		var output bytes.Buffer
		code := run(t.Context(), append(flags, token), &output, &output)
		return code, output.String()
	}
	for _, algorithm := range forgery.Algorithms {
		genuine := issuer.Genuine(algorithm, forgery.Audience)
		if code, output := inProcess(genuine); code != exitDone || !strings.Contains(output, forgery.Workload) {
			t.Errorf("the genuine token by %s: %d\n%s", algorithm, code, output)
		}
		if code, output := asProcess(genuine + " \r\n"); code != exitDone || !strings.Contains(output, forgery.Workload) { // as a file may end
			t.Errorf("the genuine token by %s from standard input: %d\n%s", algorithm, code, output)
		}
	}
	forged, processes := append(issuer.Forgeries(), issuer.Misissued()...), 0
	refused := func(f forgery.Forgery, verify func(string) (int, string)) {
		if code, output := verify(f.Token); code != exitFailed || strings.Contains(output, forgery.Victim) {
			t.Errorf("%s: %d\n%s", f.Name, code, output)
		}
	}
	for _, f := range forged {
		refused(f, inProcess)
		if strings.HasSuffix(f.Name, "outer claims") {
			processes++
			refused(f, asProcess)
		}
	}
	t.Logf("%d forged tokens, %d of them to a process", len(forged), processes)
}

// What the documentation shows readers is what the examples do.
func TestDocumentedChecksAreTheExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/verifying.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, file := range map[string]string{"go": "go-server/main.go", "js": "node-server/server.mjs"} {
		program, err := os.ReadFile("../../docs/examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		_, shown, found := strings.Cut(string(page), "\n```"+language+"\n")
		shown, _, _ = strings.Cut(shown, "```\n")
		if !found || !strings.Contains(shown, "isCompact") || !strings.Contains(string(program), shown) {
			t.Errorf("docs/verifying.md shows in %s what %s does not do:\n%s", language, file, shown)
		}
	}
}
