//go:build linux

package attack

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// `make attack` sets these, and ATTACK_FLAGS may.
var (
	tries = flag.Int("tries", 50_000, "how often all attacks together try")
	rate  = flag.Int("rate", 1500, "tries of one attack in a second, at most")
	only  = flag.String("only", "", "name of the attack to try, instead of all")
)

// buildFolder holds the programs for the whole run.
var buildFolder string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "lanyard-attack-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chmod(folder, 0o755); err != nil { // strangers run as other users
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	buildFolder = folder
	return m.Run()
}

func lanyard() string  { return filepath.Join(buildFolder, "lanyard") }
func victim() string   { return filepath.Join(buildFolder, "victim") }
func stranger() string { return filepath.Join(buildFolder, "stranger", "victim") }

// build builds the programs once. The stranger has the base name of the victim, so
// that the hooks cannot tell that it is none before it was looked at.
var build = sync.OnceValue(func() error {
	for path, pkg := range map[string]string{
		lanyard(): "cmd/lanyard", victim(): "test/attack/victim", stranger(): "test/attack/stranger",
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/lanyardhq/lanyard/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, output)
		}
	}
	return nil
})
