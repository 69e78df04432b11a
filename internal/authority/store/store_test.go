package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustWrite(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func sampleTicket() Ticket {
	return Ticket{
		ID: "tk1:a", Description: "billing", Role: "workload", Status: TicketActive,
		Tags: []string{"a", "b"}, Audiences: []string{"https://x"}, Networks: []string{"public-access"}, ExpiresAt: start.Add(time.Hour),
		MaxUses: 2, WorkloadTTL: time.Minute, MaxTokenTTL: time.Second, CreatedAt: start,
	}
}

func TestEverythingSurvivesReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder with ? and %41", "lanyard.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ticket := sampleTicket()
	workload := Workload{ID: "pr1:a", TicketID: ticket.ID, Thumbprint: "tp", JWK: "{}", Claimed: map[string]string{"k": "v"}, Status: TicketActive, Version: 1, CreatedAt: start}
	key := SigningKey{ID: "kid", Purpose: PurposeIDToken, Algorithm: "ES256", State: KeyActive, PublicJWK: "{}", Sealed: "s", Version: 1, CreatedAt: start, ActivatedAt: start}
	admin := AdminToken{ID: "at1:a", Role: "admin", Version: 1, CreatedAt: start, ExpiresAt: start.Add(time.Hour)}
	secret := Secret{ID: "sc1:a", Description: "d", Sealed: "s", Tags: []string{"a"}, ExpiresAt: start.Add(time.Hour), CreatedAt: start}
	list := NetworkList{Name: "office", Description: "both", CIDRs: []string{"192.0.2.0/24", "2001:db8::/32"}, Version: 1, CreatedAt: start, UpdatedAt: start}
	factory := TicketFactory{Name: "ci", Description: "builds", Status: TicketActive, Orchestrators: []string{"pr1:a"}, Template: "{}", Version: 1, CreatedAt: start, UpdatedAt: start}
	event := Event{At: start, Kind: "enrol", Allowed: true, Reason: "r", Source: "127.0.0.1", AdminID: "a", TicketID: "b", WorkloadID: "c", TokenID: "d", Audiences: []string{"e"}, Count: 3}
	mustWrite(t, s, func(tx *Tx) error {
		_, err := tx.SettingOrInsert("operator_id", "op1:a")
		fresh, spendErr := tx.SpendID("w", "j", start)
		if !fresh {
			t.Error("a new id was not fresh")
		}
		return errors.Join(err, spendErr, tx.InsertTicket(ticket, "digest"), tx.InsertWorkload(workload), tx.InsertSigningKey(key),
			tx.InsertAdminToken(admin, "admin digest"), tx.InsertNetworkList(list), tx.InsertTicketFactory(factory), tx.InsertSecret(secret), tx.AppendEvent(event))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}

	s = open(t, path)
	q := s.Read(t.Context())
	ticket.Version, ticket.UpdatedAt = 1, start
	workload.LastContactAt = start
	event.Sequence = 1
	event.Digest, event.Class = event.Hash(""), Administration
	check(t, "ticket", ticket)(q.Ticket("tk1:a"))
	check(t, "ticket by secret", ticket)(q.TicketBySecret("digest"))
	check(t, "tickets", []Ticket{ticket})(q.Tickets("", 10))
	check(t, "workload", Enrolled{workload, ticket})(q.Workload("pr1:a"))
	check(t, "workload by key", Enrolled{workload, ticket})(q.WorkloadByKey("tk1:a", "tp"))
	check(t, "workloads", []Enrolled{{workload, ticket}})(q.Workloads("", 10))
	check(t, "keys", []SigningKey{key})(q.SigningKeys(PurposeIDToken))
	check(t, "admin token", admin)(q.AdminTokenBySecret("admin digest"))
	check(t, "admin tokens", true)(q.HasAdminTokens())
	check(t, "list of admin tokens", []AdminToken{admin})(q.AdminTokens("", 10))
	secret.Version, secret.UpdatedAt = 1, start
	check(t, "secret", secret)(q.Secret("sc1:a"))
	check(t, "secrets", []Secret{secret})(q.Secrets("", 10))
	check(t, "network list", list)(q.NetworkList("office"))
	check(t, "list of network lists", []NetworkList{list})(q.NetworkLists("", 1))
	check(t, "ticket factory", factory)(q.TicketFactory("ci"))
	check(t, "list of ticket factories", []TicketFactory{factory})(q.TicketFactories("", 10))
	check(t, "events", []Event{event})(q.Events(10))
	mustWrite(t, s, func(tx *Tx) error {
		check(t, "setting", "op1:a")(tx.SettingOrInsert("operator_id", "op1:b"))
		check(t, "replayed id", false)(tx.SpendID("w", "j", start))
		check(t, "same id of another", true)(tx.SpendID("x", "j", start))
		return nil
	})
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

func check[T any](t testing.TB, what string, want T) func(T, error) {
	t.Helper()
	return func(got T, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", what, got, err, want)
		}
	}
}

func TestNotFound(t *testing.T) {
	q := open(t, filepath.Join(t.TempDir(), "db")).Read(t.Context())
	_, ticket := q.Ticket("x")
	_, secret := q.TicketBySecret("x")
	_, workload := q.Workload("x")
	_, byKey := q.WorkloadByKey("x", "y")
	_, admin := q.AdminToken("x")
	_, named := q.Secret("x")
	_, list := q.NetworkList("x")
	_, factory := q.TicketFactory("x")
	for i, err := range []error{ticket, secret, workload, byKey, admin, list, factory, named} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	boom := errors.New("boom")
	for name, fn := range map[string]func() error{
		"error": func() error { return boom },
		"panic": func() error { panic("boom") },
	} {
		err := s.Write(t.Context(), func(tx *Tx) error {
			if err := tx.InsertTicket(sampleTicket(), name); err != nil {
				return err
			}
			if _, err := tx.SpendID("w", "j", start); err != nil {
				return err
			}
			return fn()
		})
		if err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Read(t.Context()).Ticket("tk1:a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: the ticket stayed: %v", name, err)
		}
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertTicket(sampleTicket(), "later") })
	mustWrite(t, s, func(tx *Tx) error {
		check(t, "id of what failed", true)(tx.SpendID("w", "j", start))
		return nil
	})
}

func TestWritesOfOneBatchDoNotUndoEachOther(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	const writers = 100
	errs := writeTogether(t, s, writers, func(i int, tx *Tx) error {
		if err := tx.AppendEvent(Event{At: start, Kind: "k"}); err != nil {
			return err
		}
		if i%2 == 1 {
			return errors.New("odd")
		}
		return nil
	})
	for i, err := range errs {
		if (err != nil) != (i%2 == 1) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	events, err := s.Read(t.Context()).Events(2 * writers)
	if err != nil || len(events) != writers/2 {
		t.Errorf("%d events, %v; want %d", len(events), err, writers/2)
	}
}

// TestWritesShareCommits: the next commit waits for more writes where many shared the
// one before, and for nothing where there was one.
func TestWritesShareCommits(t *testing.T) {
	for shared, want := range map[int]time.Duration{1: 0, 2: restPerWrite, 11: 10 * restPerWrite, batchLength: maxRest} {
		if got := rest(shared); got != want {
			t.Errorf("after %d writes: %s, want %s", shared, got, want)
		}
	}
	const writers = 90
	s := open(t, filepath.Join(t.TempDir(), "db"))
	var last time.Time
	writeTogether(t, s, writers, func(int, *Tx) error { last = time.Now(); return nil })
	if err := s.Write(t.Context(), func(*Tx) error {
		if waited := time.Since(last); waited < rest(writers) {
			t.Errorf("the next commit began after %s, want %s", waited, rest(writers))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// writeTogether makes writes that form batches, and returns their errors.
func writeTogether(t *testing.T, s *Store, writers int, fn func(i int, tx *Tx) error) []error {
	t.Helper()
	var wg sync.WaitGroup
	held, release := make(chan struct{}), make(chan struct{})
	go func() {
		// Holds the writer until the others wait behind it.
		_ = s.Write(context.Background(), func(*Tx) error { close(held); <-release; return nil })
	}()
	<-held
	errs := make([]error, writers)
	for i := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = s.Write(context.Background(), func(tx *Tx) error { return fn(i, tx) })
		}()
	}
	for deadline := time.Now().Add(time.Minute); len(s.queue) < writers; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d writes are waiting", len(s.queue), writers)
		}
	}
	close(release)
	wg.Wait()
	return errs
}

// TestATransactionThatSQLiteTakesBack, as it does by itself where the disk is full, is
// nobody's: what was refused did not happen, and later writes do.
func TestATransactionThatSQLiteTakesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	rawExec(t, raw(t, path), "CREATE TRIGGER boom BEFORE INSERT ON events WHEN NEW.kind = 'boom' BEGIN SELECT RAISE(ROLLBACK, 'no room'); END")
	errs := writeTogether(t, s, 30, func(i int, tx *Tx) error {
		if i == 17 {
			return tx.AppendEvent(Event{At: start, Kind: "boom"})
		}
		ticket := sampleTicket()
		ticket.ID = fmt.Sprint("tk1:", i)
		return errors.Join(tx.InsertTicket(ticket, ticket.ID), tx.AppendEvent(Event{At: start, Kind: "k"}))
	})
	done := 0
	for i, err := range errs {
		_, lookUp := s.Read(t.Context()).Ticket(fmt.Sprint("tk1:", i))
		if (err == nil) != (lookUp == nil) {
			t.Errorf("write %d: %v, and its ticket: %v", i, err, lookUp)
		}
		if err == nil {
			done++
		} else if !strings.Contains(err.Error(), "no room") {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if errs[17] == nil || done == len(errs)-1 {
		t.Errorf("%d writes were done, that of the failure: %v", done, errs[17])
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k"}) })
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != int64(done+1) {
		t.Errorf("%+v, %v", chain, err)
	}
}

func TestTheLastUseIsHadOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	ticket := sampleTicket()
	ticket.MaxUses = 5
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertTicket(ticket, "digest") })
	var wg sync.WaitGroup
	var mu sync.Mutex
	had := 0
	for range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := s.Write(context.Background(), func(tx *Tx) error {
				ok, err := tx.CountUse(ticket.ID)
				if ok {
					mu.Lock()
					had++
					mu.Unlock()
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	got, err := s.Read(t.Context()).Ticket(ticket.ID)
	if had != 5 || err != nil || got.Uses != 5 {
		t.Errorf("%d uses had, %d stored, %v", had, got.Uses, err)
	}
}

func TestUpdateTicket(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	ticket := sampleTicket()
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertTicket(ticket, "digest") })
	ticket.Description, ticket.Role, ticket.Status = "other", "agent", TicketDeactivated
	ticket.Tags, ticket.Audiences = []string{"x"}, []string{"y"}
	ticket.ExpiresAt, ticket.WorkloadTTL, ticket.MaxUses = start.Add(time.Hour), time.Minute, 77
	ticket.UpdatedAt = start.Add(time.Second)
	mustWrite(t, s, func(tx *Tx) error { return tx.UpdateTicket(ticket) })
	ticket.Version = 2
	if got, err := s.Read(t.Context()).Ticket(ticket.ID); err != nil || !reflect.DeepEqual(got, ticket) {
		t.Errorf("stored %+v, %v; want %+v", got, err, ticket)
	}
}

func TestDeleteTicket(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	used, unused := sampleTicket(), sampleTicket()
	unused.ID = "tk1:unused"
	mustWrite(t, s, func(tx *Tx) error {
		return errors.Join(tx.InsertTicket(used, "a"), tx.InsertTicket(unused, "b"),
			tx.InsertWorkload(Workload{ID: "pr1:a", TicketID: used.ID, CreatedAt: start}))
	})
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.DeleteTicket(used.ID) }); !errors.Is(err, ErrInUse) {
		t.Errorf("delete a ticket with a workload: %v", err)
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.DeleteTicket(unused.ID) })
	if _, err := s.Read(t.Context()).Ticket(unused.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its removal: %v", err)
	}
}

func TestEventsAreForgotten(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	mustWrite(t, s, func(tx *Tx) error {
		var errs []error
		for i := range 10 {
			errs = append(errs, tx.AppendEvent(Event{At: start.Add(time.Duration(i) * time.Hour), Kind: "k"}))
		}
		return errors.Join(errs...)
	})
	for _, step := range []struct {
		retention Retention
		gone      Forgotten
		want      int
	}{{Retention{Through: 3, Keep: 100}, Forgotten{Aged: 3}, 7}, {Retention{Keep: 4}, Forgotten{Dropped: 3}, 4}, {Retention{Through: 7, Keep: 2}, Forgotten{Aged: 1, Dropped: 1}, 2}} {
		forget(t, s, Administration, step.retention, step.gone)
		if events, err := s.Read(t.Context()).Events(100); err != nil || len(events) != step.want {
			t.Errorf("%+v: %d events, %v", step, len(events), err)
		}
	}
}

func TestWriteAfterCloseAndWithACancelledCaller(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, func(tx *Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled caller: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), func(tx *Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"folder that nobody can write": {func(*testing.T) string { return "/sys/lanyard.db" }, "must be writable for user id"},
		"no folder":                    {func(t *testing.T) string { return filepath.Join(t.TempDir(), "no", "db") }, "no such file"},
		"folder instead of a file":     {func(t *testing.T) string { return t.TempDir() }, "is a directory"},
		"no database":                  {func(t *testing.T) string { return file(t, []byte(strings.Repeat("no database. ", 1000))) }, "damaged or no database"},
		"cut in half": {func(t *testing.T) string {
			return file(t, sampleFile(t, func(b []byte) []byte { return b[:len(b)/2] }))
		}, "damaged or no database"},
		"bytes overwritten": {func(t *testing.T) string {
			return file(t, sampleFile(t, func(b []byte) []byte {
				for i := 4096; i < len(b); i += 7 {
					b[i] ^= 0x5a
				}
				return b
			}))
		}, "damaged or no database"},
		"cut to nothing": {func(t *testing.T) string { return file(t, nil) }, "damaged or no database"},
		"newer program":  {newerSchema, "use the newer program"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), tt.path(t))
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sampleFile returns the bytes of a small database, changed.
func sampleFile(t *testing.T, change func([]byte) []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertTicket(sampleTicket(), "digest") })
	if err := s.Close(); err != nil { // the last connection folds the log into the file
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return change(content)
}

func newerSchema(t *testing.T) string {
	path := file(t, sampleFile(t, func(b []byte) []byte { return b }))
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	return path
}

// While one who asks is trying, others are told without a write.
func TestOneProbeAtATime(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lanyard.db"))
	s.failing.Store(true)
	s.probing <- struct{}{}
	if err := s.Ready(t.Context()); !errors.Is(err, ErrStorage) {
		t.Errorf("beside another: %v", err)
	}
	<-s.probing
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("alone: %v", err)
	}
	if s.failing.Load() {
		t.Error("the write that succeeded is not noted")
	}
}
