package authority

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// TestARestoreThatWasCutOff is one that did not begin, or one that the next start
// finishes, wherever that was.
func TestARestoreThatWasCutOff(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	file := f.backUp()
	f.createTicket(resource.TicketSpec{})
	newest := f.allEvents()[0].Digest
	// As a crash leaves it: what was written last is in the log only.
	crashed := map[string][]byte{}
	for _, name := range []string{databaseFile, databaseFile + "-wal", boxKeyFile, adminTokenFile} {
		content, err := os.ReadFile(filepath.Join(f.config.DataDir, name))
		if err != nil {
			t.Fatal(err)
		}
		crashed[name] = content
	}
	f.stop()
	database, wal := databaseFile, databaseFile+"-wal"
	cases := []struct {
		name     string
		decided  bool
		moved    []string // to where they are set aside
		placed   bool     // the database
		token    string   // "aside", "placed", or ""
		restored bool
	}{
		{name: "before it was decided"},
		{name: "once it was", decided: true, restored: true},
		{name: "database set aside", decided: true, moved: []string{database}, restored: true},
		{name: "and its log", decided: true, moved: []string{database, wal}, restored: true},
		{name: "database placed", decided: true, moved: []string{database, wal}, placed: true, restored: true},
		{name: "token set aside", decided: true, moved: []string{database, wal}, placed: true, token: "aside", restored: true},
		{name: "token placed", decided: true, moved: []string{database, wal}, placed: true, token: "placed", restored: true},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			g := newFixture(t, f.clock, f.logs)
			g.config = f.config
			g.config.DataDir, g.config.URL = filepath.Join(t.TempDir(), "data"), ""
			g.config.AdminTokenFile = filepath.Join(g.config.DataDir, adminTokenFile)
			if err := os.Mkdir(g.config.DataDir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range crashed {
				if err := os.WriteFile(filepath.Join(g.config.DataDir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			g.prepareRestore(file)
			if tt.decided {
				g.cutOff(tt.moved, tt.placed, tt.token)
			}
			g.serve("127.0.0.1:0")
			defer g.stop()
			g.readAdminToken()
			f.secrets = append(f.secrets, g.admin)
			if state := g.ticket(ticket.Name).Status.State; (state == resource.StateClosed) != tt.restored {
				t.Errorf("the ticket is %s", state)
			}
			g.wantAside(tt.restored, crashed, newest)
			if _, err := g.store.VerifyEvents(t.Context()); err != nil {
				t.Error(err)
			}
			if left, err := unfinishedRestore(g.config.DataDir); left != "" || err != nil {
				t.Errorf("left: %s, %v", left, err)
			}
		})
	}
}

// TestAFolderThatIsNoRestoreIsLeftAlone: the agent's state may be in the same folder.
func TestAFolderThatIsNoRestoreIsLeftAlone(t *testing.T) {
	f := start(t)
	f.stop()
	file := filepath.Join(f.config.DataDir, restoredPrefix+"billing", "key.pem")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("key"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f.serve(strings.TrimPrefix(f.base, "http://"))
	if content, err := os.ReadFile(file); err != nil || string(content) != "key" {
		t.Errorf("%q, %v", content, err)
	}
}

// prepareRestore is a restore up to where it would be decided.
func (f *fixture) prepareRestore(file string) {
	f.t.Helper()
	config, err := f.config.withStorageDefaults()
	if err != nil {
		f.t.Fatal(err)
	}
	r := restore{config: config, folder: filepath.Join(config.DataDir, restoringFolder)}
	if err := r.prepare(f.t.Context(), file); err != nil {
		f.t.Fatal(err)
	}
}

// cutOff decides the restore and does the first steps of what follows.
func (f *fixture) cutOff(moved []string, placed bool, token string) {
	f.t.Helper()
	dir := f.config.DataDir
	if err := decideRestore(dir, f.clock.Now()); err != nil {
		f.t.Fatal(err)
	}
	when := f.clock.Now().Format(restoreTime)
	decided, aside := filepath.Join(dir, restoredPrefix+when), filepath.Join(dir, replacedPrefix+when)
	move := func(from, to string) {
		f.t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.Rename(from, to)); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, name := range moved {
		move(filepath.Join(dir, name), filepath.Join(aside, name))
	}
	if placed {
		move(filepath.Join(decided, databaseFile), filepath.Join(dir, databaseFile))
	}
	if token != "" {
		move(f.config.AdminTokenFile, f.config.AdminTokenFile+"."+replacedPrefix+when)
	}
	if token == "placed" {
		if err := os.Link(filepath.Join(decided, adminTokenFile), f.config.AdminTokenFile); err != nil {
			f.t.Fatal(err)
		}
	}
}

// wantAside looks whether the former database was set aside, with what was in its log
// only, or is still in its place.
func (f *fixture) wantAside(aside bool, former map[string][]byte, newest string) {
	f.t.Helper()
	folders, err := filepath.Glob(filepath.Join(f.config.DataDir, replacedPrefix+"*"))
	if err != nil || (len(folders) == 1) != aside {
		f.t.Fatalf("set aside: %v, %v", folders, err)
	}
	if !aside {
		if got := f.allEvents()[0].Digest; got != newest {
			f.t.Errorf("the database lost its newest event")
		}
		return
	}
	s, err := store.Open(f.t.Context(), filepath.Join(folders[0], databaseFile))
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	if events, err := s.Read(f.t.Context()).Events(1); err != nil || len(events) != 1 || events[0].Digest != newest {
		f.t.Errorf("the database that was set aside lost its newest event: %v", err)
	}
	token, err := os.ReadFile(f.config.AdminTokenFile + "." + filepath.Base(folders[0]))
	if err != nil || string(token) != string(former[adminTokenFile]) {
		f.t.Errorf("the token that was set aside: %v", err)
	}
}

// A start removes the whole database that an undecided restore left behind.
func TestLeftoversOfARestoreAreRemoved(t *testing.T) {
	f := start(t)
	f.stop()
	left := filepath.Join(f.config.DataDir, restoringFolder)
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, databaseFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.serve("127.0.0.1:0")
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
