package rules_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// commands makes a folder of shell scripts by name, to stand in for commands of
// the machine, and returns a PATH that finds them first.
func commands(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

func runAtTop(t *testing.T, path string, command ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "../.."
	// A make above this test would talk to a make below it through MAKE*.
	cmd.Env = append(os.Environ(), path, "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS=")
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("run %v: %v", command, err)
	}
	return string(output), cmd.ProcessState.ExitCode()
}

func TestMakeAloneShowsTheTargets(t *testing.T) {
	output, status := runAtTop(t, commands(t, nil), "make")
	if status != 0 {
		t.Fatalf("make ended with %d:\n%s", status, output)
	}
	for _, target := range strings.Fields("help build demo test fuzz bench attack lint generate check-generated image ci clean") {
		if !strings.Contains(output, "  make "+target+" ") {
			t.Errorf("make help does not name %s:\n%s", target, output)
		}
	}
}

// Nothing is measured: the flags must be the benchmarks' own, and both be asked.
func TestMakeBenchRunsBothBenchmarks(t *testing.T) {
	path := commands(t, map[string]string{"dpkg-query": `echo "installed 1"`})
	output, status := runAtTop(t, path, "make", "bench", "BENCH_FLAGS=-test.v -rows ^none$$")
	if status != 0 {
		t.Fatalf("make ended with %d:\n%s", status, output)
	}
	for _, benchmark := range []string{"BenchmarkLadder", "BenchmarkIssuing"} {
		if !strings.Contains(output, benchmark) {
			t.Errorf("make bench does not run %s:\n%s", benchmark, output)
		}
	}
}

// Nobody is attacked: the flags must be the tests' own, and all be asked.
func TestMakeAttackRunsAllAttacks(t *testing.T) {
	output, status := runAtTop(t, commands(t, nil), "make", "attack", "ATTACK_FLAGS=-test.list Attack -only none")
	if status != 0 {
		t.Fatalf("make ended with %d:\n%s", status, output)
	}
	for _, test := range []string{"TestAttacks\n", "TestAttacksOnAFullQueue\n"} {
		if !strings.Contains(output, test) {
			t.Errorf("make attack does not run %s:\n%s", test, output)
		}
	}
}

func TestMakeRefusesAnOldGoInOneLine(t *testing.T) {
	tests := map[string]struct {
		version string
		refused bool
	}{
		"older":       {"go1.25.9", true},
		"much older":  {"go1.9", true},
		"oldest":      {"go1.26.0", false},
		"newer":       {"go1.27rc1", false},
		"development": {"devel go1.28-0123456 Sun Jan 1", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			output, status := runAtTop(t, commands(t, map[string]string{"go": "echo '" + tt.version + "'"}), "make", "-s", "go")
			if refused := status != 0; refused != tt.refused {
				t.Fatalf("make ended with %d:\n%s", status, output)
			}
			lines := strings.Split(output, "\n")
			if tt.refused && (!strings.Contains(lines[0], "needs Go 1.26 or newer, and this is "+tt.version) || !strings.HasPrefix(lines[1], "make: ***")) {
				t.Errorf("not one clear line:\n%s", output)
			}
		})
	}
}

func TestMissingPackagesAreInstalledOrNamed(t *testing.T) {
	const (
		installed = `case $* in *ruby*) exit 1 ;; *clang-14*) echo "installed 1:14.0.6-12" ;; *) echo "installed 7.1" ;; esac`
		apt       = `echo "apt-get $*" >>"$APT_LOG"`
	)
	tests := []struct {
		name   string
		uid    string
		args   []string
		status int
		says   string
		runs   string
	}{
		{"nothing is missing", "0", []string{"make x", "curl", "clang-14=1:14.0.6-12"}, 0, "", ""},
		{"root gets it installed", "0", []string{"make x", "curl", "ruby"}, 0,
			"make x needs Debian packages: ruby; installing them",
			"apt-get -o DPkg::Lock::Timeout=300 update\napt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends --allow-downgrades ruby\n"},
		{"another version is missing", "0", []string{"make x", "clang-14=1:14.0.6-13"}, 0,
			"needs Debian packages: clang-14=1:14.0.6-13", "clang-14=1:14.0.6-13\n"},
		{"a user gets the command", "1000", []string{"make x", "ruby"}, 1,
			"sudo apt-get install -y --no-install-recommends --allow-downgrades ruby", ""},
		{"a user can go on without", "1000", []string{"--or-without", "make x", "ruby"}, 0, "sudo apt-get install", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "apt")
			t.Setenv("APT_LOG", log)
			path := commands(t, map[string]string{"dpkg-query": installed, "apt-get": apt, "id": "echo " + tt.uid})
			output, status := runAtTop(t, path, append([]string{"test/tools/debian-packages"}, tt.args...)...)
			if status != tt.status || !strings.Contains(output, tt.says) || tt.says == "" && output != "" {
				t.Errorf("ended with %d and said %q", status, output)
			}
			ran, _ := os.ReadFile(log)
			if !strings.HasSuffix(string(ran), tt.runs) || tt.runs == "" && len(ran) > 0 {
				t.Errorf("ran %q", ran)
			}
		})
	}
}
