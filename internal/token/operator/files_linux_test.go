package operator

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
	"github.com/lanyardhq/lanyard/test/lab"
)

// stranger is a user without any right here.
const stranger = 65533

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFilesThatOthersCanChange are not used, each with the command that mends it. A
// workload that was enrolled does not enrol anew for that.
func TestFilesThatOthersCanChange(t *testing.T) {
	lab.RequireRoot(t)
	for name, k := range map[string]struct {
		spoil  func(t *testing.T, config Config)
		remedy string // after it comes a path
	}{
		"folder can be written":  {func(t *testing.T, c Config) { must(t, os.Chmod(c.StateDir, 0o770)) }, "run chmod go-w "},
		"folder above can be":    {func(t *testing.T, c Config) { must(t, os.Chmod(filepath.Dir(c.StateDir), 0o777)) }, "run chmod go-w "},
		"folder is a stranger's": {func(t *testing.T, c Config) { must(t, os.Chown(c.StateDir, stranger, stranger)) }, "run chown root "},
		"folder by a stranger's link": {func(t *testing.T, c Config) {
			must(t, os.Rename(c.StateDir, c.StateDir+"-x"))
			must(t, os.Symlink(c.StateDir+"-x", c.StateDir))
			must(t, os.Lchown(c.StateDir, stranger, stranger))
		}, "run chown -h root "},
		"key is a stranger's": {func(t *testing.T, c Config) {
			must(t, os.Chown(filepath.Join(c.StateDir, keyFile), stranger, stranger))
		}, "run chown root "},
		"key can be read": {func(t *testing.T, c Config) { must(t, os.Chmod(filepath.Join(c.StateDir, keyFile), 0o640)) }, "run chmod 600 "},
		"key is a link": {func(t *testing.T, c Config) {
			key := filepath.Join(c.StateDir, keyFile)
			must(t, os.Rename(key, key+"-x"))
			must(t, os.Symlink(key+"-x", key))
		}, "put the file itself there"},
		"enrolment can be written": {func(t *testing.T, c Config) {
			must(t, os.Chmod(filepath.Join(c.StateDir, enrolmentFile), 0o646))
		}, "run chmod go-w "},
		"enrolment is a stranger's": {func(t *testing.T, c Config) {
			must(t, os.Chown(filepath.Join(c.StateDir, enrolmentFile), stranger, stranger))
		}, "run chown root "},
		"next key is a stranger's": {func(t *testing.T, c Config) {
			key := filepath.Join(c.StateDir, nextKeyFile)
			writeFile(t, key, "x")
			must(t, os.Chown(key, stranger, stranger))
		}, "run chown root "},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			c := newClient(t, config)
			fetch(t, c)
			must(t, c.Close())
			k.spoil(t, config)
			_, err := newClient(t, config).Fetch(t.Context(), request)
			wantUntrusted(t, err, k.remedy)
			if a.count(registerPath) != 1 || a.count(idTokenPath) != 1 {
				t.Errorf("%d registrations and %d calls, want one of each", a.count(registerPath), a.count(idTokenPath))
			}
		})
	}
}

func wantUntrusted(t *testing.T, err error, remedy string) {
	t.Helper()
	var untrusted *trustedpath.UntrustedError
	if !errors.As(err, &untrusted) || !strings.HasPrefix(untrusted.Remedy, remedy) || !strings.Contains(err.Error(), untrusted.Remedy) {
		t.Fatalf("error %v, want one that says %q", err, remedy)
	}
}

// TestTicketsThatOthersCanChange are not sent anywhere.
func TestTicketsThatOthersCanChange(t *testing.T) {
	lab.RequireRoot(t)
	for name, k := range map[string]struct {
		spoil  func(t *testing.T, path string)
		remedy string
	}{
		"can be written": {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o662)) }, "run chmod go-w "},
		"a stranger's":   {func(t *testing.T, path string) { must(t, os.Chown(path, stranger, stranger)) }, "run chown root "},
		"folder is open": {func(t *testing.T, path string) { must(t, os.Chmod(filepath.Dir(path), 0o777)) }, "run chmod go-w "},
		"a stranger's link": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+"-x"))
			must(t, os.Symlink(path+"-x", path))
			must(t, os.Lchown(path, stranger, stranger))
		}, "run chown -h root "},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			config.StateDir = filepath.Join(t.TempDir(), "state")
			k.spoil(t, config.TicketFile)
			_, err := newClient(t, config).Fetch(t.Context(), request)
			wantError(t, err, token.ErrNotEnrolled)
			wantUntrusted(t, err, k.remedy)
			if len(a.requests) != 0 {
				t.Error("asked the authority")
			}
		})
	}
}

// TestTicketThatIsMounted, as Kubernetes mounts it.
func TestTicketThatIsMounted(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	volume := t.TempDir()
	must(t, os.Mkdir(filepath.Join(volume, "..2026"), 0o755))
	writeFile(t, filepath.Join(volume, "..2026", "ticket"), goodTicket)
	must(t, os.Symlink("..2026", filepath.Join(volume, "..data")))
	config.TicketFile = filepath.Join(volume, "ticket")
	must(t, os.Symlink("..data/ticket", config.TicketFile))
	must(t, os.Chmod(volume, 0o777|os.ModeSticky))
	fetch(t, newClient(t, config))
}

// TestCAFileThatOthersCanChange: who writes it answers in the authority's place.
func TestCAFileThatOthersCanChange(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, config.CAFile, "x")
	must(t, os.Chmod(config.CAFile, 0o666))
	_, err := New(config)
	wantUntrusted(t, err, "run chmod go-w ")
}
