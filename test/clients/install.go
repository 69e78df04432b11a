//go:build linux

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Install makes every client available and returns them; what has to be built goes
// into folder, which every user must be able to reach. Debian packages that are
// missing are installed where the test runs as root, and it says which; otherwise
// it names the one command that does it.
func Install(t testing.TB, folder string) []Client {
	t.Helper()
	buildGoClient(t, folder)
	clients := All(folder)
	missing := missingPackages(clients)
	if len(missing) == 0 {
		return clients
	}
	command := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, missing...)
	if os.Geteuid() != 0 {
		lab.Unavailable(t, "clients are missing: sudo "+strings.Join(command, " "))
	}
	t.Logf("installing test clients: %s", strings.Join(command, " "))
	apt(t, "apt-get", "update", "-qq")
	apt(t, command...)
	if missing = missingPackages(clients); len(missing) > 0 {
		t.Fatalf("clients still do not run after installing %s", strings.Join(missing, " "))
	}
	return clients
}

// missingPackages lists the packages of clients that do not run, each once.
func missingPackages(clients []Client) []string {
	var missing []string
	for _, client := range clients {
		if exec.Command(client.Check[0], client.Check[1:]...).Run() == nil {
			continue
		}
		for _, name := range client.Packages {
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

func apt(t testing.TB, command ...string) {
	t.Helper()
	// Another package run on this machine may hold the lock for a while.
	cmd := exec.Command(command[0], append([]string{"-o", "DPkg::Lock::Timeout=300"}, command[1:]...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
	}
}

// buildGoClient builds the Go client, static as Go programs are.
func buildGoClient(t testing.TB, folder string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", filepath.Join(folder, goClient), "github.com/lanyardhq/lanyard/test/clients/goclient")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build Go client: %v\n%s", err, output)
	}
}
