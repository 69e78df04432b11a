//go:build linux

package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Pins outlive the mount namespace that they are made in if process 1 has that BPF file
// system mounted, under whatever path.
func TestPinsThatOutlive(t *testing.T) {
	path := lab.NewBPFFS(t)
	var is unix.Stat_t
	must(t, unix.Stat(path, &is))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var others, own string
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, path) {
			own = strings.Replace(line, path, "/run/elsewhere", 1)
		} else {
			others += line
		}
	}
	for _, test := range []struct{ name, mounts, says string }{
		{"mounted elsewhere by process 1", others + own, ""},
		{"not mounted by process 1", others, "is mounted for this container only"},
		{"mounts of process 1 hidden", "", "cannot be told"},
	} {
		proc := t.TempDir()
		if test.mounts != "" {
			must(t, os.MkdirAll(filepath.Join(proc, "1"), 0o700))
			must(t, os.WriteFile(filepath.Join(proc, "1/mountinfo"), []byte(test.mounts), 0o600))
		}
		err := checkOutlives(path, proc)
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}
