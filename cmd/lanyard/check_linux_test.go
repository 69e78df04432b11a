package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lanyardhq/lanyard/internal/check"
)

// TestCheck runs the scripts of lanyard check and lanyard why. In them lanyard runs in this
// process, and started runs a program until the script ends.
func TestCheck(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/[cw]h*.txt") // and why
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files: scripts,
		Setup: func(e *testscript.Env) error {
			work, err := filepath.EvalSymlinks(e.WorkDir)
			e.Setenv("WORK", work)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lanyard": func(ts *testscript.TestScript, _ bool, args []string) { scriptLanyard(t.Context(), ts, args) },
			"started": scriptStarted,
			"expand":  scriptExpand,
		},
	})
}

// scriptLanyard runs a command line and expects its exit code: lanyard CODE
// ARGUMENT…
func scriptLanyard(ctx context.Context, ts *testscript.TestScript, args []string) {
	code := run(ctx, args[1:], ts.Stdout(), ts.Stderr())
	if want := args[0]; want != strconv.Itoa(code) {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// scriptExpand replaces $WORK in files: expand FILE…
func scriptExpand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		content := strings.ReplaceAll(ts.ReadFile(name), "$WORK", ts.Getenv("WORK"))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(content), 0o644))
	}
}

// scriptStarted makes a program that runs until the script ends, and starts it:
// started VARIABLE PATH ARGUMENT…, where the variable gets its process id. The
// program is a copy of cat unless something is at the path.
func scriptStarted(ts *testscript.TestScript, _ bool, args []string) {
	path := args[1]
	if _, err := os.Stat(path); err != nil {
		cat, err := exec.LookPath("cat")
		ts.Check(err)
		// Written by another process, so that none of ours holds it open for
		// writing when it is executed.
		ts.Check(exec.Command("install", "-D", "-m", "755", cat, path).Run())
	}
	cmd := exec.Command(path, args[2:]...)
	stdin, err := cmd.StdinPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ts.Setenv(args[0], strconv.Itoa(cmd.Process.Pid))
}

func TestServersThatAHostNeeds(t *testing.T) {
	got := neededServers(map[string]string{
		"KUBERNETES_SERVICE_HOST": "fd00::1", "LANYARD_AUTHORITY_URL": "https://authority.test", "LANYARD_OPERATOR_BASE": "http://10.0.0.7:9000/x",
	})
	want := []check.Server{
		{What: "the API server of Kubernetes", Host: "fd00::1", Port: 443},
		{What: "the authority", Host: "authority.test", Port: 443}, {What: "the operator base", Host: "10.0.0.7", Port: 9000},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = neededServers(map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"})
	want = []check.Server{{What: "the API server of Kubernetes", Host: "10.96.0.1", Port: 6443}, {What: "the authority", Host: "127.0.0.1", Port: 8700}}
	if !slices.Equal(got, want) {
		t.Errorf("by default: got %+v, want %+v", got, want)
	}
}
