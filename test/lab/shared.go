package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// Shared returns the path of a file or folder of foreign test data, which lies
// beside the repository and is not part of it. Where it is absent, as in a user's
// clone, the test is left out with one line that says so; in CI (CI=true) it fails.
func Shared(t testing.TB, elements ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{filepath.Dir(repository(t)), "shared"}, elements...)...)
	if _, err := os.Stat(path); err != nil {
		Unavailable(t, "foreign test data is not beside this checkout: "+filepath.Join(append([]string{"..", "shared"}, elements...)...))
	}
	return path
}

// repository returns the folder of the module that the test belongs to.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("find the repository: no go.mod above the test's folder")
		}
		dir = parent
	}
}
