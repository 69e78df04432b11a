package operator

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
)

func TestInterruptedEnrolment(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	// The authority enrols us, and its answer is lost.
	a.after = func(string) { panic(http.ErrAbortHandler) }
	_, err := first.Fetch(t.Context(), request)
	wantError(t, err, token.ErrUnreachable)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.after = nil })
	second := newClient(t, config)
	fetch(t, second)
	if len(a.workloads) != 1 || len(a.tickets[goodTicket].enrolled) != 1 {
		t.Errorf("%d workloads, %d uses; want one of each", len(a.workloads), len(a.tickets[goodTicket].enrolled))
	}
}

func TestLeftoverOfAWrite(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	if err := os.MkdirAll(config.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".new-1", ".new-2"} { // as privatefile calls them
		writeFile(t, filepath.Join(config.StateDir, name), "half of i")
	}
	fetch(t, newClient(t, config))
	assertPrivateFiles(t, config.StateDir)
}

// assertPrivateFiles checks that the folder holds what it should, for its owner
// only.
func assertPrivateFiles(t *testing.T, dir string, further ...string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v, error %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, error %v; want 0600", entry.Name(), info.Mode(), err)
		}
	}
	want := append([]string{enrolmentFile, keyFile, lockFile}, further...)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("folder holds %s, want %s", names, want)
	}
}

func TestStateFolder(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	assertPrivateFiles(t, config.StateDir)
	data, err := os.ReadFile(filepath.Join(config.StateDir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(data); block == nil {
		t.Error("key is not PEM")
	}
	for _, s := range a.requests {
		if strings.Contains(fmt.Sprint(s), string(data)) {
			t.Error("private key left the host")
		}
	}
	for _, text := range []string{fmt.Sprint(c.member.Load().signer.key), fmt.Sprintf("%#v", c.member.Load().signer.key)} {
		if !strings.HasPrefix(text, "key ") {
			t.Errorf("key prints as %q", text)
		}
	}
}

func TestDamagedState(t *testing.T) {
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		words  string
	}{
		"key is no key":        {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, keyFile), "x") }, "fresh ticket"},
		"key is missing":       {func(t *testing.T, dir string) { remove(t, dir, keyFile) }, "no key.pem"},
		"enrolment is no JSON": {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, enrolmentFile), "{") }, "damaged"},
		"key open to others": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "mode 0644"},
		"key is a folder": {func(t *testing.T, dir string) {
			remove(t, dir, keyFile)
			if err := os.Mkdir(filepath.Join(dir, keyFile), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAuthority(t)
			config := configure(t, a)
			c := newClient(t, config)
			fetch(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			k.damage(t, config.StateDir)
			_, err := newClient(t, config).Fetch(t.Context(), request)
			if err == nil || !strings.Contains(err.Error(), k.words) || !strings.Contains(err.Error(), config.StateDir) {
				t.Errorf("error %v, want one about %q that names the folder", err, k.words)
			}
			if n := a.count(registerPath); n != 1 {
				t.Errorf("registered %d times", n)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestOtherBase(t *testing.T) {
	a, b := startAuthority(t), startAuthority(t)
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	config.Base = b.base
	_, err := newClient(t, config).Fetch(t.Context(), request)
	wantError(t, err, ErrOtherBase, a.base, b.base, config.StateDir)
	if len(b.requests) != 0 {
		t.Error("asked the other operator")
	}
}

func TestFolderIsLocked(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	first := newClient(t, config)
	fetch(t, first)

	second := newClient(t, config)
	_, err := second.Fetch(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d uses it", os.Getpid())) {
		t.Fatalf("error %v, want one that names the process", err)
	}
	done := make(chan error, 1)
	go func() { // waits while its predecessor stops
		_, err := second.Fetch(t.Context(), request)
		done <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the first let go: %v", err)
	}
}

func TestUnusableFolder(t *testing.T) {
	a := startAuthority(t)
	config := configure(t, a)
	config.StateDir = filepath.Join(config.TicketFile, "below-a-file")
	_, err := newClient(t, config).Fetch(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), "make state folder") {
		t.Errorf("error %v", err)
	}
}
