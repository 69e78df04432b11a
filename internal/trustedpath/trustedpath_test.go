package trustedpath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func mkdir(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, target, path string) string {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "f"), "content", 0o600)
	if got, err := Read(path, Secret, 7); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Read(path, Secret, 6); err == nil || got != nil || !strings.Contains(err.Error(), "longer than 6 bytes") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Read(filepath.Join(dir, "none"), Secret, 6); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Read(filepath.Join(path, "below"), Secret, 6); err == nil {
		t.Error("a file was entered")
	}
}

// TestRelativePath: from the working folder, by what is really there.
func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "a/b"), 0o755)
	write(t, filepath.Join(dir, "f"), "outer", 0o600)
	write(t, filepath.Join(dir, "a/f"), "inner", 0o600)
	link(t, "a/b", filepath.Join(dir, "l"))
	t.Chdir(dir)
	for path, want := range map[string]string{"f": "outer", "./a//f": "inner", "a/../f": "outer", "l/../f": "inner", "a/b/../../f": "outer"} {
		if got, err := Read(path, Given, 100); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	link(t, mkdir(t, filepath.Join(dir, "private"), 0o755), filepath.Join(dir, "public"))
	for _, path := range []string{"a/b/c", "a/b/c", "a/b/../d", "public"} {
		if err := MakeFolder(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"a", "a/b", "a/b/c", "a/d"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	sticky := mkdir(t, filepath.Join(dir, "sticky"), 0o777|os.ModeSticky)
	var untrusted *UntrustedError
	if err := MakeFolder(sticky); !errors.As(err, &untrusted) || untrusted.Remedy != "run chmod go-w "+sticky {
		t.Errorf("sticky: %v", err)
	}
	if err := MakeFolder(filepath.Join(sticky, "mine")); err != nil {
		t.Errorf("below sticky: %v", err)
	}
	if err := MakeFolder(filepath.Join(write(t, filepath.Join(dir, "f"), "x", 0o600), "below")); err == nil {
		t.Error("below a file")
	}
}

func TestMakeSharedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := MakeSharedFolder(filepath.Join(dir, "a/b")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"a", "a/b"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	var untrusted *UntrustedError
	if err := MakeSharedFolder(mkdir(t, filepath.Join(dir, "sticky"), 0o777|os.ModeSticky)); !errors.As(err, &untrusted) {
		t.Errorf("sticky: %v", err)
	}
}

func TestRemedyCanBeRun(t *testing.T) {
	dir := mkdir(t, filepath.Join(t.TempDir(), "it's a $(folder)\n"), 0o755)
	path := write(t, filepath.Join(dir, "f"), "x", 0o666)
	if _, err := Open(path, Given); err == nil || !strings.Contains(err.Error(), `run chmod go-w $'/`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}
