package check

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

type accounts struct{}

func (accounts) UserID(name string) (uint32, error) {
	if name == "billing" {
		return 990, nil
	}
	return 0, errors.New("this host has no user " + name)
}

func (a accounts) GroupID(name string) (uint32, error) { return a.UserID(name) }

func policy(t *testing.T, identities ...registry.IdentitySpec) *registry.Policy {
	t.Helper()
	p, _, err := registry.Compile(registry.Resources{Identities: identities}, accounts{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func anyUser(name, exe string) registry.IdentitySpec {
	return registry.IdentitySpec{Name: name, Match: workload.SelectorSpec{Executables: []string{exe}, AnyUser: true}}
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// shop is a folder with one program of each kind.
func shop(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lib/java"), "\x7fELF", 0o755)
	write(t, filepath.Join(dir, "bin/interpreter"), "\x7fELF", 0o755)
	write(t, filepath.Join(dir, "script"), "#! "+dir+"/linked-interpreter -u\nx", 0o755)
	write(t, filepath.Join(dir, "envscript"), "#!/usr/bin/env -S A=b sh\n", 0o755)
	write(t, filepath.Join(dir, "lostscript"), "#!/nowhere/perl\n", 0o755)
	write(t, filepath.Join(dir, "bareshebang"), "#!\n", 0o755)
	write(t, filepath.Join(dir, "data"), "x", 0o644)
	for link, target := range map[string]string{"java": "lib/java", "linked-interpreter": "bin/interpreter"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPrograms(t *testing.T) {
	dir := shop(t)
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		"lib/java":    "",
		"java":        "is a link, and the kernel reports where it leads; write exe: " + dir + "/lib/java",
		"script":      "write exe: " + dir + `/bin/interpreter and cmdline: "* ` + dir + `/script*"`,
		"envscript":   "write exe: " + sh,
		"lostscript":  "its interpreter is not found",
		"bareshebang": "its interpreter is not found",
		"data":        "is not executable",
		"lib":         "is no file",
		"missing":     "does not exist",
	} {
		warnings := Programs(policy(t, anyUser("x", filepath.Join(dir, name))))
		if says == "" {
			if len(warnings) != 0 {
				t.Errorf("%s: %q", name, warnings)
			}
			continue
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], says) || !strings.HasPrefix(warnings[0], "identity x: exe "+dir) {
			t.Errorf("%s: %q, want %q", name, warnings, says)
		}
	}
	if warnings := Programs(policy(t, anyUser("x", dir+"/miss*"))); len(warnings) != 0 {
		t.Errorf("a pattern: %q", warnings)
	}
}

func process(pid uint32, exe string, args ...string) *workload.Process {
	return &workload.Process{Image: workload.Image{PID: pid}, UID: 7, Executable: exe, CommandLine: args}
}

func TestReportFindsWhatMatchesAndWhatNearlyDoes(t *testing.T) {
	dir := shop(t)
	java, interpreter := dir+"/lib/java", dir+"/bin/interpreter"
	byUser := registry.IdentitySpec{Name: "user", Match: workload.SelectorSpec{Executables: []string{"/opt/app"}, Users: []string{"billing"}}}
	// Two conditions that say who runs it, of which most processes meet neither.
	byUnit := registry.IdentitySpec{Name: "unit", Match: workload.SelectorSpec{Users: []string{"billing"}, SystemdUnits: []string{"x.service"}}}
	p := policy(t, byUser, byUnit, anyUser("java", dir+"/java"), anyUser("script", dir+"/script"),
		anyUser("tie1", "/tied"), anyUser("tie2", "/tied"), anyUser("plain", "/usr/bin/plain"))
	app := process(1, "/opt/app")
	app.UID, app.User = 990, "billing"
	foreign := process(9, "")
	foreign.ExecutableNote = "/usr/bin/plain: does not count, as it is another file there"
	report := Processes(p, []*workload.Process{
		app,
		process(2, "/opt/app"), // another user
		process(3, java, "java", "-jar", "x"),
		process(4, interpreter, "interpreter", dir+"/script", "now"),
		process(5, interpreter, "interpreter", "/another/script"),
		process(6, interpreter, dir+"/script"), // calls itself so, but runs nothing of the kind
		process(7, "/tied"),
		process(8, "/usr/local/bin/plain"),
		foreign,
		process(10, "/bin/bystander"),
		process(11, interpreter),
	}, 3)

	if report.Processes != 11 || report.Hidden != 3 {
		t.Errorf("counts: %+v", report)
	}
	if len(report.Ties) != 1 || report.Ties[0].PID != 7 || !slices.Equal(report.Ties[0].Identities, []string{"tie1", "tie2"}) {
		t.Errorf("ties: %+v", report.Ties)
	}
	near := map[string][]uint32{"user": {2}, "java": {3}, "script": {4}, "plain": {8, 9}}
	for _, identity := range report.Identities {
		var pids []uint32
		for _, n := range identity.Near {
			pids = append(pids, n.PID)
		}
		if !slices.Equal(pids, near[identity.Name]) {
			t.Errorf("%s: near %v, want %v", identity.Name, pids, near[identity.Name])
		}
		switch identity.Name {
		case "user":
			if len(identity.Processes) != 1 || identity.Processes[0].PID != 1 || identity.Processes[0].User != "billing" {
				t.Errorf("matched: %+v", identity.Processes)
			}
			if m := identity.Near[0].Misses; len(m) != 1 || m[0].Kind != workload.KindUser || m[0].Wanted[0] != "billing" || m[0].Had != "7" {
				t.Errorf("misses: %+v", m)
			}
		case "java":
			if !strings.Contains(identity.Near[0].Hint, "write exe: "+java) {
				t.Errorf("hint: %q", identity.Near[0].Hint)
			}
		case "script":
			if !strings.Contains(identity.Near[0].Hint, "write exe: "+interpreter) {
				t.Errorf("hint: %q", identity.Near[0].Hint)
			}
		case "plain":
			if identity.Near[0].Hint != "" || !strings.Contains(identity.Near[1].Hint, "another file") {
				t.Errorf("hints: %q %q", identity.Near[0].Hint, identity.Near[1].Hint)
			}
		}
	}
}

func TestNearMissesAreBounded(t *testing.T) {
	p := policy(t, registry.IdentitySpec{Name: "user", Match: workload.SelectorSpec{Executables: []string{"/opt/app"}, Users: []string{"billing"}}})
	var processes []*workload.Process
	for pid := range uint32(maxNear + 5) {
		processes = append(processes, process(pid, "/opt/app"))
	}
	report := Processes(p, processes, 0)
	if one := report.Identities[0]; len(one.Near) != maxNear || one.NearMore != 5 {
		t.Errorf("%d shown, %d not", len(one.Near), one.NearMore)
	}
	var out strings.Builder
	report.Print(&out)
	if !strings.Contains(out.String(), "nearly: 5 more") {
		t.Error(out.String())
	}
}

func TestPrintKeepsTheTerminalSafe(t *testing.T) {
	evil := "/opt/\x1b[2Japp"
	p := policy(t, anyUser("evil", "/opt/*"), registry.IdentitySpec{Name: "line", Match: workload.SelectorSpec{
		Executables: []string{"/srv/app"}, CommandLines: []string{"good"}, AnyUser: true}})
	long := process(2, "/srv/app", "bad\x1b]0;owned", strings.Repeat("é", 500))
	long.SystemdUnit = "x\n.service"
	odd := process(1, evil)
	odd.User = "r\x07t"
	report := Processes(p, []*workload.Process{odd, long}, 1)
	var out strings.Builder
	report.Print(&out)
	text := out.String()
	if strings.ContainsAny(text, "\x1b\x07") || strings.Contains(text, "x\n.service") {
		t.Errorf("%q", text)
	}
	if !strings.Contains(text, `"/opt/\x1b[2Japp"`) || !strings.Contains(text, "cmdline: wanted good") || !strings.Contains(text, "executables of 1 are hidden: to see them takes root with CAP_SYS_PTRACE") {
		t.Errorf("%s", text)
	}
	if had := report.Identities[1].Near[0].Misses[0].Had; len([]rune(had)) > maxShown+1 {
		t.Errorf("%d characters of a command line", len([]rune(had)))
	}
}
