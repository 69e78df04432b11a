package attribution

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLookUpIsStat holds the walk against the kernel's own.
func TestLookUpIsStat(t *testing.T) {
	dir := folder(t)
	tr := tree{t, dir}
	tr.write("a/b/file", "x")
	tr.link("a/up", "../a/b/file")
	tr.link("a/here", "./b")
	tr.link("absolute", filepath.Join(dir, "a", "here"))
	tr.link("loop", "loop")
	r, err := NewReader(ReaderConfig{Proc: "/proc", Root: "/", Names: names{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range []string{
		"/", dir, dir + "/a/b/file", dir + "/a/up", dir + "//a/./here/file", dir + "/absolute/file", dir + "/absolute/../b/file",
		dir + "/a/b/../../../" + filepath.Base(dir) + "/a/up", dir + "/loop", dir + "/none", dir + "/a/b/file/x", "/proc/1/status", "/dev/null",
	} {
		got, err := r.lookUp(path)
		want, wantErr := statAt(unix.AT_FDCWD, path)
		if (err == nil) != (wantErr == nil) || got != want || wantErr != nil && !errors.Is(err, wantErr) {
			t.Errorf("%s: %+v, %v; want %+v, %v", path, got, err, want, wantErr)
		}
	}
	before := descriptors(t)
	for range 100 {
		_, _ = r.lookUp(dir + "/absolute/file")
		_, _ = r.lookUp(dir + "/loop")
		_, _ = r.lookUp(dir + "/a/none/x")
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors more", after-before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
