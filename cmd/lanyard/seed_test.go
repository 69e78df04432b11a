package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lanyardhq/lanyard/internal/freeport"
	"github.com/lanyardhq/lanyard/test/lab"
)

// seedPackages are the npm packages that the guide's program is compiled and run with.
var seedPackages = []string{"typescript@5.9.3", "axios@1.12.2"}

// TestStepsOfTheFirstSeed walks through steps 2 to 5 of the first seed's guide, by the
// guide's own lines: a ticket, the client, its tokens by curl and by a program in
// TypeScript, and a service in Go that lets in who has one.
func TestStepsOfTheFirstSeed(t *testing.T) {
	guide, err := os.ReadFile(lab.Shared(t, "reference", "seed-workload-authentication.md"))
	if err != nil {
		t.Fatal(err)
	}
	bin, packages := t.TempDir(), t.TempDir()
	mustRun(t, "../..", "go", "build", "-o", filepath.Join(bin, "go-server"), "./docs/examples/go-server")
	mustRun(t, packages, "npm", append([]string{"install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"}, seedPackages...)...)
	params := scriptParams(t, bin, "testdata/seed.txtar")
	setUp := params.Setup
	params.Setup = func(env *testscript.Env) error {
		if err := os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(env.WorkDir, "node_modules")); err != nil {
			return err
		}
		return setUp(env)
	}
	params.Cmds["guide"] = func(ts *testscript.TestScript, neg bool, args []string) { copyFromGuide(ts, string(guide), neg, args) }
	params.Cmds["correct"] = correct
	params.Cmds["freeport"] = freePort
	testscript.Run(t, params)
}

func mustRun(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, output)
	}
}

// copyFromGuide is guide STEP LANGUAGE FILE: it writes the step's example in that
// language to the file.
func copyFromGuide(ts *testscript.TestScript, guide string, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: guide STEP LANGUAGE FILE")
	}
	_, step, found := strings.Cut(guide, "\n## Step "+args[0]+":")
	if !found {
		ts.Fatalf("the guide has no step %s", args[0])
	}
	step, _, _ = strings.Cut(step, "\n## ")
	_, example, found := strings.Cut(step, "\n```"+args[1]+"\n")
	if !found {
		ts.Fatalf("step %s of the guide has no example in %s", args[0], args[1])
	}
	example, _, _ = strings.Cut(example, "\n```")
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(example+"\n"), 0o600))
}

// correct FILE OLD NEW replaces the one place where the file says OLD.
func correct(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: correct FILE OLD NEW")
	}
	content := ts.ReadFile(args[0])
	if n := strings.Count(content, args[1]); n != 1 {
		ts.Fatalf("%s says %q %d times:\n%s", args[0], args[1], n, content)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(content, args[1], args[2], 1)), 0o600))
}

// freePort VARIABLE sets the variable to a port that nobody listens on.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VARIABLE")
	}
	address, err := freeport.Address()
	ts.Check(err)
	_, port, err := net.SplitHostPort(address)
	ts.Check(err)
	ts.Setenv(args[0], port)
}
