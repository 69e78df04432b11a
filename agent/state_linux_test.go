//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/folderlock"
)

// What an identity that a process uses has is left, and so is the key of the local API.
func TestStateThatIsUsedIsNotRemoved(t *testing.T) {
	state := t.TempDir()
	for _, file := range []string{"identities/used/key.pem", "identities/unused/key.pem", "local-api-key"} {
		path := filepath.Join(state, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := folderlock.Take(t.Context(), filepath.Join(state, "identities/used/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := RemoveState(t.Context(), state); err == nil || !strings.Contains(err.Error(), "uses it") {
		t.Errorf("removed what is used: %v", err)
	}
	files, err := StateFiles(state)
	if err != nil || len(files) != 3 { // key and lock of the one, and the API's key
		t.Errorf("left are %v, %v", files, err)
	}
}
