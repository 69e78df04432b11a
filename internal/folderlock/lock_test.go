package folderlock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOneHasTheFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Take(t.Context(), path); !errors.As(err, &held) || held.PID != fmt.Sprint(os.Getpid()) {
		t.Errorf("second: %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Release()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestTakeWaitsForAPredecessor: it lets go in the meantime.
func TestTakeWaitsForAPredecessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		second, err := Take(context.Background(), path)
		if err == nil {
			err = second.Release()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it was had twice: %v", err)
	default:
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestALinkIsNotFollowed: it would truncate what it leads to.
func TestALinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(t.Context(), filepath.Join(dir, "lock")); err == nil || !strings.Contains(err.Error(), "open lock") {
		t.Errorf("error %v", err)
	}
	if content, err := os.ReadFile(victim); err != nil || string(content) != "content" {
		t.Errorf("%q, %v", content, err)
	}
}
