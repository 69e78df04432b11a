package authority

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// backUp writes a backup of the authority, which runs.
func (f *fixture) backUp() string {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), "backup")
	if _, err := WriteBackup(f.t.Context(), f.config, file, false); err != nil {
		f.t.Fatal(err)
	}
	return file
}

// restore stops the authority, restores the backup over its database, and starts it
// again.
func (f *fixture) restore(file string, options RestoreOptions) Restored {
	f.t.Helper()
	f.stop()
	options.Replace = true
	done, err := Restore(f.t.Context(), f.config, file, options)
	if err != nil {
		f.t.Fatal(err)
	}
	f.serve(strings.TrimPrefix(f.base, "http://"))
	f.readAdminToken()
	return done
}

// signerOf is the kid in a token's header.
func signerOf(t *testing.T, token string) string {
	t.Helper()
	message, err := jws.ParseString(token)
	if err != nil {
		t.Fatal(err)
	}
	return message.Signatures()[0].ProtectedHeaders().KeyID()
}

func (f *fixture) ticket(name string) resource.Ticket {
	f.t.Helper()
	var shown resource.Ticket
	f.send("GET", resource.TicketsPath+"/"+name, "Bearer "+f.admin, nil).decode(f.t, 200, &shown)
	return shown
}

// TestRestoredKeysSignNoMore: security.md 18.
func TestRestoredKeysSignNoMore(t *testing.T) {
	for name, revoke := range map[string]bool{"retired": false, "revoked": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
			file, before := f.backUp(), f.storedKeys()
			f.clock.Advance(time.Minute)
			f.restore(file, RestoreOptions{RevokeKeys: revoke})
			f.clock.Advance(time.Second)
			signs := signerOf(t, tokenOf(t, m.idToken(nil)))
			after := f.storedKeys()
			if len(before) != 2 || len(after) != 4 {
				t.Fatalf("keys %v, were %v", after, before)
			}
			for id, key := range after {
				_, old := before[id]
				want := []string{store.KeyActive, store.KeyNext}
				if old {
					want = []string{name}
				}
				if !slices.Contains(want, key.State) || f.isPublished(id) == (old && revoke) {
					t.Errorf("key %s, old: %v, is %s, published: %v", id, old, key.State, f.isPublished(id))
				}
				if (key.State == store.KeyActive) != (signs == id) {
					t.Errorf("%s signs, %s is %s", signs, id, key.State)
				}
				if old != (key.Sealed == "") {
					t.Errorf("the private part of %s, old: %v, is there: %v", id, old, key.Sealed != "")
				}
			}
		})
	}
}

// storedKeys are the keys by their ids.
func (f *fixture) storedKeys() map[string]store.SigningKey {
	f.t.Helper()
	keys, err := f.store.Read(f.t.Context()).SigningKeys(store.PurposeIDToken)
	if err != nil {
		f.t.Fatal(err)
	}
	byID := map[string]store.SigningKey{}
	for _, key := range keys {
		byID[key.ID] = key
	}
	return byID
}

// TestNothingSignedBeforeARestoreIsAccepted: security.md 18. What was used until then
// is not known any more.
func TestNothingSignedBeforeARestoreIsAccepted(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	file := f.backUp()
	bearer, registration := "Bearer "+m.assertion(), m.registration(ticket.Ticket)
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	f.send("POST", registerPath, "", registration).decode(t, 200, &registerResponse{})
	f.clock.Advance(900 * time.Millisecond)
	f.restore(file, RestoreOptions{})
	refused := func(what string, a answer) {
		t.Helper()
		a.refused(t, 401)
		if reason := f.events()[0].Reason; !strings.Contains(reason, "issued before a backup was restored at 2026-03-04T05:06:07Z") {
			t.Errorf("%s: refused for %q", what, reason)
		}
	}
	refused("recorded assertion", f.send("POST", idTokenPath, bearer, nil))
	refused("recorded proof", f.send("POST", registerPath, "", registration))
	refused("assertion of the same second", m.idToken(nil))
	refused("proof of the same second", m.register(ticket.Ticket))
	f.clock.Advance(100 * time.Millisecond)
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	m.register(ticket.Ticket).decode(t, 200, &registerResponse{})
	refused("recorded assertion, later", f.send("POST", idTokenPath, bearer, nil))
	f.restart()
	refused("recorded assertion, after a restart", f.send("POST", idTokenPath, bearer, nil))
}

// TestRestoredTicketsAreClosed: security.md 18.
func TestRestoredTicketsAreClosed(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{MaxUses: 3, Tags: []string{"a"}})
	inviting, _ := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{inviting.id}})
	early := f.enrol(ticket.Ticket)
	file := f.backUp()
	late := f.enrol(ticket.Ticket)
	done := f.restore(file, RestoreOptions{})
	f.clock.Advance(time.Second)
	if done.TicketsClosed != 2 || !done.TakenAt.Equal(startTime) || !done.At.Equal(startTime) {
		t.Errorf("restored %+v", done)
	}
	shown := f.ticket(ticket.Name)
	if shown.Status.State != resource.StateClosed || shown.Spec.Enrolment != resource.EnrolmentClosed || shown.Spec.Status != resource.StatusActive ||
		shown.Status.Closed != "restored from the backup of 2026-03-04T05:06:07Z" || shown.Status.Uses != 1 {
		t.Errorf("ticket %+v", shown)
	}

	// A stranger learns nothing; the activity says why.
	unknown := f.newMember().register("lyt_" + strings.Repeat("0", 32))
	closed := f.newMember().register(ticket.Ticket)
	if closed.status != 401 || closed.same() != unknown.same() {
		t.Errorf("closed %s, unknown %s", closed.same(), unknown.same())
	}
	if e := f.events()[0]; e.Reason != "enrolment: the ticket is closed: restored from the backup of 2026-03-04T05:06:07Z" || e.TicketID != ticket.Name {
		t.Errorf("activity %+v", e)
	}

	// Who was enrolled goes on, also by repeating its enrolment; who is not known does not.
	early.idToken(nil).decode(t, 200, &idTokenResponse{})
	var again registerResponse
	early.register(ticket.Ticket).decode(t, 200, &again)
	if again.WorkloadID != early.id {
		t.Errorf("enrolled again as %s, was %s", again.WorkloadID, early.id)
	}
	late.idToken(nil).refused(t, 401)
	late.register(ticket.Ticket).refused(t, 401)
	// Another edit leaves it closed, and why; an administrator opens it.
	path := resource.TicketsPath + "/" + ticket.Name
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"description":"x"}}`).decode(t, 200, &shown)
	if shown.Status.Closed == "" || shown.Spec.Enrolment != resource.EnrolmentClosed {
		t.Errorf("after an edit %+v", shown)
	}
	shown = resource.Ticket{}
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"enrolment":"open"}}`).decode(t, 200, &shown)
	if shown.Status.Closed != "" || shown.Status.State != resource.StateActive {
		t.Errorf("reopened %+v", shown)
	}
	f.enrol(ticket.Ticket)
	f.setStatus(ticket, resource.StatusDeactivated)
	early.idToken(nil).refused(t, 403)
}

// TestRestoredFactoriesAreClosed: security.md 18. An orchestrator that was stopped since
// the backup is active again.
func TestRestoredFactoriesAreClosed(t *testing.T) {
	f := start(t)
	inviting, _ := f.orchestrator()
	spec := resource.TicketFactorySpec{Orchestrators: []string{inviting.id}}
	f.declareFactory("ci", spec)
	spec.Minting = resource.MintingClosed
	f.declareFactory("closed", spec)
	refused := func(name, reason string) {
		t.Helper()
		if message := inviting.invite(name).refused(t, 403); message != "refused by the ticket factory's "+reason || f.events()[0].Reason != reason {
			t.Errorf("told %q, activity %+v", message, f.events()[0])
		}
	}
	refused("closed", "minting: the ticket factory is closed")
	unused := inviting.mint("ci")
	file := f.backUp()
	if done := f.restore(file, RestoreOptions{}); done.FactoriesClosed != 1 {
		t.Errorf("restored %+v", done)
	}
	f.clock.Advance(time.Second)
	refused("ci", "minting: the ticket factory is closed: restored from the backup of 2026-03-04T05:06:07Z")
	f.newMember().register(unused).refused(t, 401)

	// A declaration that does not name it, written before the restore say, opens nothing.
	path := resource.TicketFactoriesPath + "/ci"
	spec.Minting = resource.MintingOpen
	for method, body := range map[string]string{"PATCH": `{"spec":{"minting":null}}`, "PUT": `{"spec":{"orchestrators":["` + inviting.id + `"]}}`} {
		var shown resource.TicketFactory
		f.send(method, path, "Bearer "+f.admin, body).decode(t, 200, &shown)
		if shown.Spec.Minting != resource.MintingClosed || shown.Status.Closed != "restored from the backup of 2026-03-04T05:06:07Z" {
			t.Errorf("after %s %s: %+v", method, body, shown)
		}
	}
	if opened := f.declareFactory("ci", spec); opened.Spec.Minting != resource.MintingOpen || opened.Status.Closed != "" {
		t.Errorf("opened %+v", opened)
	}
	f.enrol(inviting.mint("ci"))
}

// TestEnrolmentIsAControl that administrators set, also without a restore.
func TestEnrolmentIsAControl(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{Enrolment: resource.EnrolmentClosed})
	f.newMember().register(ticket.Ticket).refused(t, 401)
	if reason := f.events()[0].Reason; reason != "enrolment: the ticket is closed" {
		t.Errorf("reason %q", reason)
	}
	path := resource.TicketsPath + "/" + ticket.Name
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"enrolment":"ajar"}}`).refused(t, 400)
	// A declaration that does not name it, written before a restore say, opens nothing.
	for method, body := range map[string]string{"PATCH": `{"spec":{"enrolment":null}}`, "PUT": `{"spec":{}}`} {
		var shown resource.Ticket
		f.send(method, path, "Bearer "+f.admin, body).decode(t, 200, &shown)
		if shown.Status.State != resource.StateClosed {
			t.Errorf("after %s %s: %+v", method, body, shown)
		}
	}
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"enrolment":"open"}}`).decode(t, 200, &ticket)
	m := f.enrol(f.secrets[len(f.secrets)-1])
	f.send("PATCH", path, "Bearer "+f.admin, `{"spec":{"enrolment":"closed"}}`).decode(t, 200, &ticket)
	if ticket.Status.State != resource.StateClosed || ticket.Status.Closed != "" {
		t.Errorf("ticket %+v", ticket)
	}
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
}

// TestARestoreIsInTheActivity, whose chain goes on from the backup's.
func TestARestoreIsInTheActivity(t *testing.T) {
	f := start(t)
	f.createTicket(resource.TicketSpec{})
	file, last := f.backUp(), f.allEvents()[0]
	f.createTicket(resource.TicketSpec{})
	f.clock.Advance(time.Minute)
	f.restore(file, RestoreOptions{})
	chain, err := f.store.VerifyEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	events := f.allEvents()
	i := slices.IndexFunc(events, func(e store.Event) bool { return e.Digest == last.Digest })
	if i < 1 || chain.Sequence != events[0].Sequence {
		t.Errorf("the backup's last event is not in the chain, which ends at %d", chain.Sequence)
	}
	e := events[0]
	if e.Kind != kindRestore || !e.Allowed || !e.At.Equal(startTime.Add(time.Minute)) ||
		!strings.Contains(e.Reason, "the backup of 2026-03-04T05:06:07Z, file ") || !strings.Contains(e.Reason, "tickets closed: 1, ticket factories closed: 0, administrators' tokens removed: 1") {
		t.Errorf("activity %+v", e)
	}
}

// TestAdministratorsAfterARestore: a token that was revoked since the backup is not
// back, and there is one to go on with.
func TestAdministratorsAfterARestore(t *testing.T) {
	f := start(t)
	file, former := f.backUp(), f.admin
	f.restore(file, RestoreOptions{})
	f.send("GET", resource.TicketsPath, "Bearer "+former, nil).refused(t, 401)
	f.createTicket(resource.TicketSpec{})
	aside, err := filepath.Glob(f.AdminTokenFile() + ".replaced-*")
	if err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}

	f.stop()
	if done, err := Restore(t.Context(), f.config, file, RestoreOptions{Replace: true, KeepAdminTokens: true}); err != nil || done.AdminTokenFile != "" {
		t.Fatalf("%+v, %v", done, err)
	}
	f.serve(strings.TrimPrefix(f.base, "http://"))
	f.send("GET", resource.TicketsPath, "Bearer "+f.admin, nil).refused(t, 401)
	f.send("GET", resource.TicketsPath, "Bearer "+former, nil).decode(t, 200, &struct{}{})
}

// TestARefusedRestoreChangesNothing: see backup.txtar for the messages.
func TestARefusedRestoreChangesNothing(t *testing.T) {
	f := start(t)
	f.createTicket(resource.TicketSpec{})
	file := f.backUp()
	f.stop()
	tampered := filepath.Join(t.TempDir(), "tampered")
	copyOf(t, file, tampered)
	rawExecAt(t, tampered, "DROP TRIGGER events_no_update", "UPDATE events SET reason = 'x' WHERE seq = 2")
	newer := filepath.Join(t.TempDir(), "newer")
	copyOf(t, file, newer)
	rawExecAt(t, newer, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	format := filepath.Join(t.TempDir(), "format")
	copyOf(t, file, format)
	rawExecAt(t, format, "PRAGMA user_version = 2")
	for name, tt := range map[string]struct {
		file, says string
		change     func(*Config)
		options    RestoreOptions
	}{
		"over a database":      {file: file, says: "--replace", options: RestoreOptions{}},
		"changed activity":     {file: tampered, says: "the activity was changed", options: RestoreOptions{Replace: true}},
		"newer schema":         {file: newer, says: "use the newer program", options: RestoreOptions{Replace: true}},
		"newer format":         {file: format, says: "its format has version 2", options: RestoreOptions{Replace: true}},
		"key of another":       {file: file, says: "LANYARD_KEY_ENCRYPTION_KEY", options: RestoreOptions{Replace: true}, change: func(c *Config) { c.KeyEncryptionKey = strings.Repeat("A", 43) + "=" }},
		"key file not there":   {file: file, says: "/nowhere (LANYARD_KEY_ENCRYPTION_KEY_FILE)", options: RestoreOptions{Replace: true}, change: func(c *Config) { c.KeyEncryptionKeyFile = "/nowhere" }},
		"no place for a token": {file: file, says: "LANYARD_ADMIN_TOKEN_FILE", options: RestoreOptions{Replace: true}, change: func(c *Config) { c.AdminTokenFile = "/sys/token" }},
		"no data folder named": {file: file, says: "LANYARD_DATA_DIR", options: RestoreOptions{Replace: true}, change: func(c *Config) { c.DataDir = "" }},
		"unknown algorithm":    {file: file, says: "LANYARD_SIGNING_ALGORITHM", options: RestoreOptions{Replace: true}, change: func(c *Config) { c.SigningAlgorithm = "HS256" }},
	} {
		t.Run(name, func(t *testing.T) {
			config := f.config
			if tt.change != nil {
				tt.change(&config)
			}
			before := folderContent(t, f.config.DataDir)
			_, err := Restore(t.Context(), config, tt.file, tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
			if after := folderContent(t, f.config.DataDir); after != before {
				t.Errorf("the folder holds %s, it held %s", after, before)
			}
		})
	}
}

func copyOf(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// folderContent is a text that is equal as long as no file is changed; of the lock it
// is that there is one.
func folderContent(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			text.WriteString(path + "\n")
			return err
		}
		content, err := os.ReadFile(path)
		if entry.Name() == lockFile {
			content = nil
		}
		text.WriteString(path + " " + string(content) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// By a clock that is wrong, assertions would be refused for as long as it was ahead.
func TestRestoreByAWrongClock(t *testing.T) {
	f := start(t)
	f.clock.Advance(time.Hour)
	file := f.backUp()
	f.stop()
	f.clock.Advance(-time.Minute)
	_, err := Restore(t.Context(), f.config, file, RestoreOptions{Replace: true})
	if err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("before the backup was made: %v", err)
	}
	f.clock.Advance(2 * time.Hour)
	if _, err := Restore(t.Context(), f.config, file, RestoreOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(-time.Hour)
	a, err := New(f.config)
	if err == nil {
		_ = a.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("start after the clock was put right: %v", err)
	}
	f.clock.Advance(time.Hour - clockSkew)
	if a, err = New(f.config); err != nil {
		t.Fatalf("within the skew: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// A database that is a link could lead whoever backs it up to another one.
func TestALinkedDatabaseIsNotBackedUp(t *testing.T) {
	f := start(t)
	linked := f.config
	linked.DataDir = t.TempDir()
	if err := os.Symlink(filepath.Join(f.config.DataDir, databaseFile), filepath.Join(linked.DataDir, databaseFile)); err != nil {
		t.Fatal(err)
	}
	_, err := WriteBackup(t.Context(), linked, filepath.Join(t.TempDir(), "backup"), false)
	if err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("error %v", err)
	}
}

// What cannot be looked at is not taken for what is not there.
func TestWhatCannotBeLookedAt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if there, err := exists(filepath.Join(file, databaseFile)); err == nil {
		t.Errorf("below a file: %t without an error", there)
	}
	if there, err := exists(file + "x"); there || err != nil {
		t.Errorf("nothing: %t, %v", there, err)
	}
}
