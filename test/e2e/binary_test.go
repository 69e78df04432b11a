//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/test/clients"
)

// buildFolder holds the binary under test for the whole run.
var buildFolder string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "lanyard-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildFolder = folder
	// Clients run as other users too.
	if err := os.Chmod(folder, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// build builds the product once, as a release is built.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildFolder, "lanyard")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/lanyardhq/lanyard/cmd/lanyard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lanyard: %w\n%s", err, output)
	}
	return path, nil
})

func lanyard(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// installed are the real clients, made available once for the whole run.
var installed struct {
	once    sync.Once
	clients []clients.Client
}

func realClients(t testing.TB) []clients.Client {
	t.Helper()
	installed.once.Do(func() { installed.clients = clients.Install(t, buildFolder) })
	if installed.clients == nil {
		t.Fatal("the real clients could not be installed; see the first test")
	}
	return installed.clients
}

// realClient returns one of the real clients by name.
func realClient(t testing.TB, name string) clients.Client {
	t.Helper()
	for _, client := range realClients(t) {
		if client.Name == name {
			return client
		}
	}
	t.Fatalf("no client is named %s", name)
	return clients.Client{}
}
