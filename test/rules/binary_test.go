package rules_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// maxBinary is the most that the stripped binary may weigh, in bytes.
const maxBinary = 40_000_000

func TestBinaryIsStaticAndSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lanyard")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "../../cmd/lanyard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOFLAGS=")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lanyard: %v\n%s", err, output)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= maxBinary {
		t.Errorf("the binary has %d bytes, %d are too many", info.Size(), maxBinary)
	}
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = binary.Close() }()
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a %v segment: it would need a loader, and does not run FROM scratch", segment.Type)
		}
	}
	if binary.Section(".symtab") != nil {
		t.Error("the binary is not stripped")
	}
}
