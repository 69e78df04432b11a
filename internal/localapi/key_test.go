package localapi

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestAPIKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, path, err := OpenKey("", dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v; want mode 0600", info, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(content))
	second, _, err := OpenKey("", dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Matches(key) || !second.Matches(key) || first.Matches(key+"x") || first.Matches("") {
		t.Error("the key in the file is not the key")
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", first, first, first), key) {
		t.Error("the key prints")
	}
}

func TestConfiguredAPIKey(t *testing.T) {
	dir := t.TempDir()
	key, path, err := OpenKey("Albert", dir)
	if err != nil || path != "" || !key.Matches("Albert") {
		t.Errorf("got %q, %v", path, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("made %v", entries)
	}
}

func TestEmptyAPIKeyFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+keyFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenKey("", dir); err == nil || !strings.Contains(err.Error(), "remove it") || strings.Contains(err.Error(), "others") {
		t.Errorf("got %v", err)
	}
}

func TestAPIKeyThatOthersCanReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+keyFile, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(dir+"/"+keyFile, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := OpenKey("", dir)
		if err == nil || !strings.Contains(err.Error(), "if others may know it, remove it") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

// TestAPIKeyThatCannotBeMade: there is nothing to remove.
func TestAPIKeyThatCannotBeMade(t *testing.T) {
	if _, _, err := OpenKey("", t.TempDir()+"/none"); err == nil || !strings.Contains(err.Error(), "make local API key") || strings.Contains(err.Error(), "remove") {
		t.Errorf("got %v", err)
	}
}
