package privatefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

func TestCreateThenRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := Create(path, "s3cret"); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, "other"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v", err)
	}
	got, err := Read(path)
	if err != nil || got != "s3cret" {
		t.Errorf("Read: %q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestReplaceBy: whole, private, and until then the former one.
func TestReplaceBy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("former"), 0o644); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	half := func(f *os.File) error {
		_, err := f.WriteString("half")
		return errors.Join(err, boom)
	}
	for name, by := range map[string]func(string, func(*os.File) error) error{"create": CreateBy, "replace": ReplaceBy} {
		if err := by(path, half); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		if content, err := os.ReadFile(path); err != nil || string(content) != "former" {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	err := ReplaceBy(path, func(f *os.File) error { return os.WriteFile(f.Name(), []byte("later"), 0o600) })
	if got, readErr := Read(path); err != nil || readErr != nil || got != "later" {
		t.Errorf("%q, %v, %v", got, err, readErr)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestErrorsRepeat: they have the same text each time, and it names the file that was to be.
func TestErrorsRepeat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := Create(path, "s3cret"); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for name, k := range map[string]struct {
		path string
		err  error
		try  func(path string) error
	}{
		"folder that nobody can write": {"/sys/secret", fs.ErrPermission, func(path string) error { return Create(path, "s3cret") }},
		"no folder": {path + "/secret", syscall.ENOTDIR, func(path string) error {
			return CreateBy(path, func(*os.File) error { return nil })
		}},
		"taken": {path, fs.ErrExist, func(path string) error { return Create(path, "s3cret") }},
		"filled by name": {path, boom, func(path string) error {
			return ReplaceBy(path, func(f *os.File) error { return fmt.Errorf("fill %s: %w", f.Name(), boom) })
		}},
	} {
		first, again := k.try(k.path), k.try(k.path)
		if !errors.Is(first, k.err) || !errors.Is(again, k.err) {
			t.Errorf("%s: %v, %v, want %v", name, first, again, k.err)
			continue
		}
		if first.Error() != again.Error() || strings.Contains(first.Error(), newPrefix) || !strings.Contains(first.Error(), k.path) {
			t.Errorf("%s: first %q, then %q", name, first, again)
		}
	}
}

// TestReplaceKeeping: what was replaced, and if nothing could be, both.
func TestReplaceKeeping(t *testing.T) {
	dir := t.TempDir()
	key, next, former := filepath.Join(dir, "key"), filepath.Join(dir, "next"), filepath.Join(dir, "former")
	for path, secret := range map[string]string{key: "1", next: "2", former: "0"} {
		if err := Create(path, secret); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path, secret string) {
		t.Helper()
		if got, err := Read(path); err != nil || got != secret {
			t.Errorf("%s holds %q, %v; want %q", path, got, err, secret)
		}
	}
	if err := ReplaceKeeping(next, key, former); err != nil {
		t.Fatal(err)
	}
	want(key, "2")
	want(former, "1")
	if err := ReplaceKeeping(filepath.Join(dir, "none"), key, next); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from no file: %v", err)
	}
	want(key, "2")
	want(next, "2")
	want(former, "1")
	if err := ReplaceKeeping(former, key, next); err != nil {
		t.Fatal(err)
	}
	want(key, "1")
	want(next, "2")
}

func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	if err := Create(filepath.Join(dir, "secret"), "s3cret"); err != nil {
		t.Fatal(err)
	}
	cutOff, err := os.CreateTemp(dir, newPrefix+"*")
	if err != nil {
		t.Fatal(err)
	}
	if err := cutOff.Close(); err != nil {
		t.Fatal(err)
	}
	if err := RemoveLeftovers(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "secret" {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := RemoveLeftovers(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestReadDoesNotWait: nobody writes to the FIFO.
func TestReadDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}

// TestLinks: only what was given to us may be one.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	if err := errors.Join(Create(path, "hunter2"), os.Symlink("secret", link)); err != nil {
		t.Fatal(err)
	}
	var untrusted *trustedpath.UntrustedError
	for name, read := range map[string]func(string) (string, error){"own": Read, "shared": ReadShared} {
		if got, err := read(link); got != "" || !errors.As(err, &untrusted) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, read := range map[string]func(string) (string, error){"given": ReadGiven, "lent": ReadLent} {
		if got, err := read(link); err != nil || got != "hunter2" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestFolderOfEverybodys: a secret is neither read there nor written.
func TestFolderOfEverybodys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := errors.Join(Create(path, "hunter2"), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(string) (string, error){"own": Read, "shared": ReadShared, "given": ReadGiven} {
		if got, err := read(path); got != "" || err == nil || !strings.Contains(err.Error(), "run chmod go-w "+dir) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := Create(path+"2", "hunter2"); err == nil || !strings.Contains(err.Error(), "run chmod go-w "+dir) {
		t.Errorf("created: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestReadLent: the mode counts there as well.
func TestReadLent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadLent(path); err != nil || got != "hunter2" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadLent(path); got != "" || err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ReadLent(filepath.Dir(path)); err == nil {
		t.Error("a folder was read")
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for want, path := range map[string]string{
		"0640":                write("group", "hunter2", 0o640),
		"0604":                write("others", "hunter2", 0o604),
		"empty":               write("blank", " \n", 0o600),
		"longer than":         write("large", strings.Repeat("hunter2", MaxBytes), 0o600),
		"not a regular file":  dir,
		"no such file or dir": filepath.Join(dir, "none"),
	} {
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if got, err := ReadShared(filepath.Join(dir, "others")); err != nil || got != "hunter2" {
		t.Errorf("shared: %q, %v", got, err)
	}
	for _, name := range []string{"blank", "large", "none"} {
		if _, err := ReadShared(filepath.Join(dir, name)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("shared, %s: %v", name, err)
		}
	}
	if err := Create("/sys/secret", "hunter2"); err == nil || !strings.Contains(err.Error(), "must be writable") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("folder that nobody can write: %v", err)
	}
}

// A secret that was mounted is a link to a file of root's.
func TestReadGivenSecret(t *testing.T) {
	dir := t.TempDir()
	key, mounted := filepath.Join(dir, "key"), filepath.Join(dir, "mounted")
	if err := errors.Join(os.WriteFile(key, []byte("secret\n"), 0o600), os.Symlink("key", mounted)); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadGivenSecret(mounted); got != "secret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadGivenSecret(mounted); got != "" || err == nil {
		t.Errorf("readable by all: %q, %v", got, err)
	}
}
