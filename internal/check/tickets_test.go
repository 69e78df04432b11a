package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/registry"
)

func TestTickets(t *testing.T) {
	for name, k := range map[string]struct {
		mode     os.FileMode // 0 for no file
		enrolled bool
		says     string
	}{
		"private":               {0o600, false, ""},
		"missing":               {0, false, "does not exist, and the identity is not enrolled; put a ticket there"},
		"missing, and enrolled": {0, true, ""},
		"others read":           {0o644, false, "has mode 0644, and whoever can read the ticket can enrol in its place; run chmod 600"},
		"a group reads":         {0o640, false, "run chmod 600"},
		"others write":          {0o606, false, "so others can change it; run chmod go-w"},
		"used up":               {0o644, true, ""},
	} {
		path := filepath.Join(t.TempDir(), "ticket")
		if k.mode != 0 {
			write(t, path, "lyt_x", 0o600)
			if err := os.Chmod(path, k.mode); err != nil {
				t.Fatal(err)
			}
		}
		got := Tickets(map[string]string{"billing": path}, func(string) bool { return k.enrolled })
		if k.says == "" && len(got) > 0 || k.says != "" && (len(got) != 1 || !strings.Contains(got[0], k.says) || !strings.Contains(got[0], path) || !strings.HasPrefix(got[0], "identity billing: ")) {
			t.Errorf("%s: %q, want %q", name, got, k.says)
		}
	}
}

func TestPlaces(t *testing.T) {
	for name, k := range map[string]struct {
		by      registry.ServerSpec
		systemd bool
		says    string
	}{
		"a cgroup":               {registry.ServerSpec{Cgroups: []string{"/there"}}, false, ""},
		"no such cgroup":         {registry.ServerSpec{Cgroups: []string{"/there", "/nowhere"}}, true, "names cgroup /nowhere, which does not exist now"},
		"a pattern":              {registry.ServerSpec{Cgroups: []string{"/now*"}}, true, ""},
		"a unit":                 {registry.ServerSpec{SystemdUnits: []string{"a.service"}}, true, ""},
		"a unit, and no systemd": {registry.ServerSpec{SystemdUnits: []string{"a.service"}}, false, "names unit a.service, and systemd does not run on this host"},
		"a user":                 {registry.ServerSpec{Users: []string{"billing"}}, false, ""},
	} {
		p := guarded(t, func(d *registry.DestinationSpec) { d.ServedBy = &k.by }, anyUser("x", "/usr/bin/x"))
		got := Places(p, func(path string) bool { return path == "/there" }, k.systemd)
		if k.says == "" && len(got) > 0 || k.says != "" && (len(got) != 1 || !strings.Contains(got[0], k.says) || !strings.HasPrefix(got[0], "destination ledger: ")) {
			t.Errorf("%s: %q, want %q", name, got, k.says)
		}
	}
	if got := Places(guarded(t, nil, anyUser("x", "/usr/bin/x")), func(string) bool { return false }, false); len(got) > 0 {
		t.Errorf("without served_by: %q", got)
	}
}
