package attribution

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func accountsAt(path string, now *time.Time) *accountFile {
	return &accountFile{path: path, fields: 7, now: func() time.Time { return *now }}
}

// TestAccountsAreReadWhenTheyChange: security.md 31. Whoever takes on numbers that
// nobody has makes us read nothing.
func TestAccountsAreReadWhenTheyChange(t *testing.T) {
	path := filepath.Join(folder(t), "passwd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("root:x:0:0:root:/root:/bin/sh\n#off:x:7:7::/:/\n+nis:x:8:8::/:/\nshort:x:9\ntoor:x:0:0::/:/\n\nweb:x:33:33:web:/srv:/bin/false\n")
	now := time.Now()
	a := accountsAt(path, &now)
	for id, want := range map[uint32]string{0: "root", 33: "web", 7: "", 8: "", 9: ""} {
		if got := a.name(id); got != want {
			t.Errorf("%d is %q, want %q", id, got, want)
		}
	}
	for id := range uint32(5000) {
		now = now.Add(time.Millisecond)
		a.name(100_000 + id)
	}
	if a.reads != 1 {
		t.Errorf("read %d times", a.reads)
	}
	write("admin:x:0:0::/:/\n")
	if got := a.name(0); got != "root" {
		t.Errorf("looked again at once: %q", got)
	}
	now = now.Add(accountsKept)
	if got := a.name(0); got != "admin" || a.name(33) != "" {
		t.Errorf("got %q after a change", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(accountsKept)
	if got := a.name(0); got != "" {
		t.Errorf("got %q of no file", got)
	}
}

// TestOneLooksAtTheAccounts: while somebody reads, the others go by what is known.
func TestOneLooksAtTheAccounts(t *testing.T) {
	path := filepath.Join(folder(t), "passwd")
	if err := os.WriteFile(path, []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a := accountsAt(path, &now)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if got := a.name(0); got != "root" {
				t.Errorf("got %q", got)
			}
		})
	}
	all.Wait()
	if a.reads != 1 {
		t.Errorf("read %d times", a.reads)
	}
	a.looking.Lock()
	now = now.Add(accountsKept)
	if got := a.name(0); got != "root" {
		t.Errorf("got %q", got)
	}
	a.looking.Unlock()
}

func TestAccountFileIsBounded(t *testing.T) {
	path := filepath.Join(folder(t), "passwd")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := "user%d:x:%d:0:" + strings.Repeat("x", 500) + ":/:/\n"
	last := maxAccountFile / 500
	for id := range last {
		fmt.Fprintf(f, line, id, id)
	}
	now := time.Now()
	a := accountsAt(path, &now)
	if first, beyond := a.name(1), a.name(uint32(last-1)); first != "user1" || beyond != "" {
		t.Errorf("got %q and %q", first, beyond)
	}
}

// TestHostNamesAreTheSystemsOwn holds them against os/user.
func TestHostNamesAreTheSystemsOwn(t *testing.T) {
	n := NewHostNames()
	for id := range uint32(200) {
		u, err := user.LookupId(strconv.FormatUint(uint64(id), 10))
		if err == nil {
			if got := n.UserName(id); got != u.Username {
				t.Errorf("user %d is %q, want %q", id, got, u.Username)
			}
		}
		g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10))
		if err == nil {
			if got := n.GroupName(id); got != g.Name {
				t.Errorf("group %d is %q, want %q", id, got, g.Name)
			}
		}
	}
	if n.UserName(0) != "root" || n.GroupName(0) != "root" {
		t.Error("root has another name")
	}
}
