//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwt"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// refuseAuthority starts the authority where it must not start, as that user (nil: as
// root), and returns what it printed.
func (w *world) refuseAuthority(user *syscall.Credential) string {
	w.t.Helper()
	cmd := exec.Command(lanyard(w.t), "authority")
	cmd.Env = w.serviceEnv(w.authorityEnv...)
	started := startProcess(w.t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files, User: user}, "authority", cmd)
	if !started.EndsWithin(waitLimit) {
		w.t.Fatal("the authority runs")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		w.t.Errorf("the authority ended with %d, want 1", code)
	}
	return started.Output()
}

// mount mounts a file system until the test ends, or until it is unmounted.
func (w *world) mount(source, target, kind string, flags uintptr, options string) (unmount func()) {
	w.t.Helper()
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		w.t.Fatalf("mount %s at %s: %v", source, target, err)
	}
	mounted := true
	unmount = func() {
		if !mounted {
			return
		}
		mounted = false
		if err := unix.Unmount(target, 0); err != nil {
			w.t.Errorf("unmount %s: %v", target, err)
		}
	}
	w.t.Cleanup(unmount)
	return unmount
}

// makeReadOnly makes a folder or a file of the world's read-only, for root too.
func (w *world) makeReadOnly(path string) (undo func()) {
	w.t.Helper()
	undo = w.mount(path, path, "", unix.MS_BIND, "")
	if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		w.t.Fatalf("make %s read-only: %v", path, err)
	}
	return undo
}

// fill takes all that is left of the file system of a folder.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// tokenIDs are the jti of the tokens that the activity says were issued.
func (w *world) tokenIDs() map[string]bool {
	w.t.Helper()
	ids := map[string]bool{}
	decoder := json.NewDecoder(strings.NewReader(w.must("activity", "--kind", "id_token", "--limit", "0", "-o", "json")))
	for decoder.More() {
		var event struct {
			TokenID string `json:"token_id"`
		}
		if err := decoder.Decode(&event); err != nil {
			w.t.Fatal(err)
		}
		ids[event.TokenID] = true
	}
	return ids
}

// TestDiskFull: security.md 28. What cannot be recorded is refused, and what was
// promised is there when there is room again.
func TestDiskFull(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.path("authority"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.mount("tmpfs", w.path("authority"), "tmpfs", 0, "size=4m,mode=0700")
	w.startAuthority()
	made := w.createTicket("ticket")
	client := w.startWorkload("client", "3013", made.Ticket)
	fill(t, w.path("authority/filler"))

	var issued []string
	for i := 0; ; i++ {
		token, err := client.token(fmt.Sprintf("https://%d", i))
		if err != nil {
			break
		}
		if issued = append(issued, token); len(issued) > 1000 {
			t.Fatal("tokens are issued from a full disk")
		}
	}
	if err := w.getOK(authorityURL + "/readyz"); err == nil || !strings.Contains(err.Error(), "answers 503") {
		t.Errorf("readyz: %v", err)
	}
	if err := w.getOK(authorityURL + "/healthz"); err != nil {
		t.Errorf("healthz: %v", err)
	}
	w.mustRefuse("the authority answers 503", "ticket", "create")
	status, output := w.refuseRun("stranger", "3014", made.Ticket)
	if status != 1 || !strings.Contains(output, "503") {
		t.Errorf("enrolment: exit %d:\n%s", status, output)
	}
	if _, body, err := w.get(authorityURL + "/metrics"); err != nil || !strings.Contains(body, `code="503",endpoint="/operator/v1/id_token"`) {
		t.Errorf("no token was refused with 503: %v", err)
	}
	w.authority.waitForLog(t, "make room on the file system")

	if err := os.Remove(w.path("authority/filler")); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, waitLimit, func() error { return w.getOK(authorityURL + "/readyz") })
	lab.Eventually(t, waitLimit, func() error {
		token, err := client.token("https://again")
		issued = append(issued, token)
		return err
	})
	w.startWorkload("stranger", "3014", made.Ticket)
	w.must("activity", "--verify")
	w.wantRecorded(issued)
	w.authority.stop(t)
	w.startAuthority()
	w.must("activity", "--verify")
	w.wantRecorded(issued)
}

// wantRecorded looks whether the activity knows these tokens.
func (w *world) wantRecorded(tokens []string) {
	w.t.Helper()
	known := w.tokenIDs()
	for _, token := range tokens {
		if token == "" {
			continue
		}
		parsed, err := jwt.ParseInsecure([]byte(token))
		if err != nil {
			w.t.Fatal(err)
		}
		if !known[parsed.JwtID()] {
			w.t.Errorf("token %s was issued without an event", parsed.JwtID())
		}
	}
}

// TestBackupToAFullDisk leaves the backup that was there.
func TestBackupToAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	if err := os.Mkdir(w.path("small"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.mount("tmpfs", w.path("small"), "tmpfs", 0, "size=1m,mode=0700")
	w.must("authority", "backup", w.path("small/backup"))
	before, err := os.ReadFile(w.path("small/backup"))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, w.path("small/filler"))
	w.mustRefuse("make room", "authority", "backup", "--overwrite", w.path("small/backup"))
	if after, err := os.ReadFile(w.path("small/backup")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the former backup was changed: %v", err)
	}
	if entries, err := os.ReadDir(w.path("small")); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	w.must("authority", "backup", w.path("authority/backup"))
	w.authority.stop(t)
	// Nor does a restore that has no room change what there is.
	if err := os.Mkdir(w.path("tight"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.mount("tmpfs", w.path("tight"), "tmpfs", 0, "size=64k,mode=0700")
	key, err := os.ReadFile(w.path("authority/key-encryption-key"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("tight/key-encryption-key", string(key))
	w.mustRefuse("no space left", "authority", "restore", w.path("authority/backup"), "--data-dir", w.path("tight"))
	if entries, err := os.ReadDir(w.path("tight")); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestDamagedDatabase: the authority does not start from it, leaves it as it is, and a
// backup takes its place.
func TestDamagedDatabase(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	for range 50 { // several pages
		w.createTicket("ticket", "--description", strings.Repeat("long ", 50))
	}
	w.must("authority", "backup", w.path("backup"))
	w.authority.stop(t)
	path := w.path("authority/lanyard.db")
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	noise := bytes.Repeat([]byte{0xa5, 0x00, 0xff, 0x3c}, page/4)
	for name, damage := range map[string]func([]byte) []byte{
		"header overwritten":             func(b []byte) []byte { return append(bytes.Clone(noise[:100]), b[100:]...) },
		"page in the middle overwritten": func(b []byte) []byte { copy(b[len(b)/2/page*page:], noise); return b },
		"cut in the middle":              func(b []byte) []byte { return b[:len(b)/2/page*page] },
		"cut in the middle of a page":    func(b []byte) []byte { return b[:len(b)/2/page*page+1000] },
		"cut to nothing":                 func([]byte) []byte { return nil },
		"another file":                   func([]byte) []byte { return []byte("listen: 127.0.0.1:8700\n") },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := damage(bytes.Clone(sound))
			w.write("authority/lanyard.db", string(damaged))
			output := w.refuseAuthority(nil)
			if !strings.Contains(output, path) || !strings.Contains(output, "restore a backup (lanyard authority restore)") {
				t.Errorf("it does not say what to do:\n%s", output)
			}
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, damaged) {
				t.Errorf("the file was changed: %v", err)
			}
			for _, more := range []string{path + "-wal", path + "-shm"} {
				if info, err := os.Stat(more); err == nil && info.Size() > 0 {
					t.Errorf("%s was left behind, %d bytes", more, info.Size())
				}
			}
		})
	}
	w.must("authority", "restore", "--replace", w.path("backup"))
	w.startAuthority()
	w.must("ticket", "list")
	w.must("activity", "--verify")
}

// TestStorageThatCannotBeWritten: every refusal says which folder, and for whom it
// must be writable.
func TestStorageThatCannotBeWritten(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	w := newWorld(t)
	for _, folder := range []string{filepath.Dir(w.folder), w.folder} { // let others through
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.startAuthority()
	made := w.createTicket("ticket")
	w.startWorkload("client", "3013", made.Ticket).stop(t)
	w.must("authority", "backup", w.path("backup"))
	w.authority.stop(t)

	want := func(what, output string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(output, word) {
				t.Errorf("%s: %q is not in:\n%s", what, word, output)
			}
		}
	}
	undo := w.makeReadOnly(w.path("authority"))
	want("read-only folder", w.refuseAuthority(nil), w.path("authority"), "read-only file system", "must be writable for user id 0", "LANYARD_DATA_DIR")
	w.mustRefuse("read-only file system", "authority", "restore", "--replace", w.path("backup"))
	w.mustRefuse("read-only file system", "authority", "backup", w.path("authority/second"))
	undo()
	undo = w.makeReadOnly(w.path("authority/lanyard.db"))
	want("read-only file", w.refuseAuthority(nil), w.path("authority/lanyard.db"), "read-only file system", "must be writable for user id 0")
	undo()
	want("somebody else's folder", w.refuseAuthority(nobody), w.path("authority"), "permission denied", "must be writable for user id 65534")

	undo = w.makeReadOnly(w.path("client"))
	status, output := w.refuseRun("client", "3013", "")
	undo()
	want("read-only folder of a workload", output, w.path("client"), "read-only file system", "--dir")
	if status != 1 {
		t.Errorf("exit %d", status)
	}
	// A restore by another user than who owns the folder could not be read by that one.
	if err := os.Chown(w.path("authority"), int(nobody.Uid), int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	w.mustRefuse("belongs to user id 65534: run this as that user", "authority", "restore", "--replace", w.path("backup"))
	if err := os.Chown(w.path("authority"), 0, 0); err != nil {
		t.Fatal(err)
	}
	w.startAuthority()
	if status, body, err := w.get(authorityURL + "/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, body, err)
	}
}
