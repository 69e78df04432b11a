package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lanyardhq/lanyard/test/certificates"
)

// TestMain lets this test binary be the program where it is called by its name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		main()
	}
	os.Exit(m.Run())
}

const programName = "lanyard"

// waitLimit bounds every wait of a script.
const waitLimit = 30 * time.Second

// TestScripts runs every script in which lanyard is a process of its own.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	testscript.Run(t, scriptParams(t, t.TempDir(), scripts...))
}

// scriptParams is how scripts run: lanyard is in the folder bin, which their PATH
// begins with.
func scriptParams(t *testing.T, bin string, scripts ...string) testscript.Params {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, programName)); err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[processesKey{}] = processes{}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("LANYARD_DATA_DIR", env.WorkDir+"/data")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"authority": func(ts *testscript.TestScript, neg bool, args []string) {
				startAuthority(ts, filepath.Join(bin, programName), neg, args)
			},
			"start": func(ts *testscript.TestScript, neg bool, args []string) {
				start(ts, filepath.Join(bin, programName), neg, args)
			},
			"end":      end, // "stop" is testscript's: it ends the script
			"waitfor":  waitFor,
			"findurl":  findURL,
			"findport": findPort,
			"setjson":  setJSON,
			"newcert":  newCertificate,
			"mode":     fileMode,
		},
	}
}

// waitFor FILE TEXT waits until the file holds the text.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE TEXT")
	}
	deadline := time.Now().Add(waitLimit)
	for {
		content, _ := os.ReadFile(ts.MkAbs(args[0]))
		if strings.Contains(string(content), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not hold %q but:\n%s", args[0], args[1], content)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// findURL FILE VARIABLE sets the variable to the authority's base as it printed it.
func findURL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: findurl FILE VARIABLE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if url, found := strings.CutPrefix(strings.TrimSpace(line), "authority: "); found {
			ts.Setenv(args[1], url)
			return
		}
	}
	ts.Fatalf("%s names no base", args[0])
}

// setJSON FILE MEMBER VARIABLE sets the variable to a string member of the object.
func setJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: setjson FILE MEMBER VARIABLE")
	}
	members := map[string]any{}
	ts.Check(decodeJSON(ts.ReadFile(args[0]), &members))
	value, ok := members[args[1]].(string)
	if !ok || value == "" {
		ts.Fatalf("%s has no string %q", args[0], args[1])
	}
	ts.Setenv(args[2], value)
}

// newCertificate CERT KEY writes a certificate for this host, and its key.
func newCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: newcert CERT KEY")
	}
	pair, err := certificates.New(time.Now().Add(time.Hour))
	ts.Check(err)
	ts.Check(pair.Write(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}

// fileMode FILE MODE checks the permissions of a file.
func fileMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := info.Mode().Perm().String(); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
