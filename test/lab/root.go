package lab

import (
	"os"
	"testing"
)

// RequireRoot skips the test when it does not run as root, because it changes
// namespaces, cgroups or the kernel's programs. In CI (CI=true) it fails instead:
// a test that silently never runs proves nothing.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	Unavailable(t, "needs root: run `sudo -E make test`")
}

// Unavailable ends the test because this machine lacks what the test needs:
// skipped on a user's machine, failed where CI=true.
func Unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: no test may be skipped)", reason)
	}
	t.Skip(reason)
}
