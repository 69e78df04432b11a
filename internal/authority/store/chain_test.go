package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

// TestHashOfAnEvent: the values were computed by another program, from the
// description at Event.Hash.
func TestHashOfAnEvent(t *testing.T) {
	first := Event{Sequence: 1, At: start, Kind: "id_token", Allowed: true, Source: "::1", TicketID: "tk1:a", WorkloadID: "pr1:a",
		TokenID: "jwt1:a", Audiences: []string{"https://a", "é"}, Count: 1}
	second := Event{Sequence: 2, At: start.Add(time.Millisecond), Kind: "enrol", Reason: "why", AdminID: "at1:a", Resource: "Secret/x", Count: 3}
	const want1 = "8649a6097080f5e13fcf1aa5a8ac13a409239596ee75bd02f36f5a085756fb90"
	const want2 = "53a810ee09b396919413f08a3146ad00314e1b18899e8fff322f56b3a8c0ccd4"
	if got := first.Hash(""); got != want1 {
		t.Errorf("first: %s", got)
	}
	if got := second.Hash(want1); got != want2 {
		t.Errorf("second: %s", got)
	}
}

// chained is a store with n events, and its file.
func chained(t *testing.T, n int) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	for i := range n {
		mustWrite(t, s, func(tx *Tx) error {
			return tx.AppendEvent(Event{At: start.Add(time.Duration(i) * time.Hour), Kind: "k", Reason: fmt.Sprint(i), Audiences: []string{"<a>"}})
		})
	}
	return s, path
}

// forget wants so many events to go.
func forget(t *testing.T, s *Store, class Class, r Retention, want Forgotten) {
	t.Helper()
	if got, err := s.ForgetEvents(t.Context(), class, r); err != nil || got != want {
		t.Fatalf("class %q: %+v, %v; want %+v", class, got, err, want)
	}
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func rawExec(t *testing.T, db *sql.DB, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

// TestEventsAreAppendOnly: security.md 28.
func TestEventsAreAppendOnly(t *testing.T) {
	s, path := chained(t, 5)
	forget(t, s, Administration, Retention{Through: 2}, Forgotten{Aged: 2})
	before, err := s.VerifyEvents(t.Context())
	if err != nil || before.First != 3 || before.Sequence != 5 {
		t.Fatalf("%+v, %v", before, err)
	}
	db := raw(t, path)
	hash := strings.Repeat("0", 64)
	for name, query := range map[string]string{
		"update":                   "UPDATE events SET reason = 'x' WHERE seq = 4",
		"update of a hash":         "UPDATE events SET hash = '' WHERE seq = 5",
		"delete":                   "DELETE FROM events WHERE seq = 4",
		"delete the newest":        "DELETE FROM events WHERE seq = 5",
		"delete the oldest":        "DELETE FROM events WHERE seq = 3",
		"replace":                  "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 4",
		"insert without a hash":    "INSERT INTO events SELECT 6, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count, resource, '', class FROM events WHERE seq = 5",
		"insert with a gap":        "INSERT INTO events SELECT 7, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count, resource, hash, class FROM events WHERE seq = 5",
		"anchor back":              "UPDATE event_chains SET seq = 1 WHERE class = 'administration'",
		"anchor to another hash":   "UPDATE event_chains SET seq = 4, hash = '" + hash + "' WHERE class = 'administration'",
		"anchor beyond the events": "UPDATE event_chains SET seq = 100",
		"delete the anchor":        "DELETE FROM event_chains",
		"another class":            "INSERT INTO event_chains (class, seq, hash, head_seq, head_hash) VALUES ('x', 0, '', 0, '')",
		"insert into no class":     "INSERT INTO events SELECT 6, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count, resource, hash, '' FROM events WHERE seq = 5",
		"head back":                "UPDATE event_chains SET head_seq = 0",
		"head to another hash":     "UPDATE event_chains SET head_seq = 100, head_hash = '" + hash + "'",
	} {
		if _, err := db.ExecContext(t.Context(), query); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, err := s.VerifyEvents(t.Context()); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestTamperingIsFound: somebody who can write the file can remove the triggers.
func TestTamperingIsFound(t *testing.T) {
	s, path := chained(t, 5)
	forget(t, s, Administration, Retention{Through: 2}, Forgotten{Aged: 2})
	db := raw(t, path)
	rawExec(t, db, "DROP TRIGGER events_no_update", "DROP TRIGGER events_insert_at_end",
		"DROP TRIGGER events_delete_before_anchor", "DROP TRIGGER event_chain_moves_on", "DROP TRIGGER event_chain_head_moves_on",
		"CREATE TABLE kept AS SELECT * FROM events", "CREATE TABLE kept_anchors AS SELECT * FROM event_chains")
	for name, query := range map[string]string{
		"reason":           "UPDATE events SET reason = 'x' WHERE seq = 4",
		"outcome":          "UPDATE events SET allowed = 1 WHERE seq = 4",
		"time":             "UPDATE events SET at = at + 1 WHERE seq = 5",
		"audiences":        "UPDATE events SET audiences = '[]' WHERE seq = 3",
		"count":            "UPDATE events SET count = 2 WHERE seq = 3",
		"moved":            "UPDATE events SET resource = workload_id, workload_id = 'x' WHERE seq = 3",
		"hash":             "UPDATE events SET hash = '' WHERE seq = 5",
		"removed":          "DELETE FROM events WHERE seq = 4",
		"oldest removed":   "DELETE FROM events WHERE seq = 3",
		"newest removed":   "DELETE FROM events WHERE seq = 5",
		"all removed":      "DELETE FROM events",
		"put in":           "INSERT INTO events SELECT 6, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count, resource, hash, class FROM events WHERE seq = 5",
		"another anchor":   "UPDATE event_chains SET hash = 'x' WHERE class = 'administration'",
		"anchor taken off": "UPDATE event_chains SET seq = 0, hash = ''",
		"another class":    "UPDATE events SET class = 'traffic' WHERE seq = 5",
		"no class":         "UPDATE events SET class = 'x' WHERE seq = 4",
	} {
		t.Run(name, func(t *testing.T) {
			rawExec(t, db, query)
			if chain, err := s.VerifyEvents(t.Context()); !errors.Is(err, ErrTampered) {
				t.Errorf("%+v, %v", chain, err)
			}
			rawExec(t, db, "DELETE FROM events", "INSERT INTO events SELECT * FROM kept", "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'events'",
				"UPDATE event_chains SET (seq, hash) = (SELECT seq, hash FROM kept_anchors AS k WHERE k.class = event_chains.class)")
			if _, err := s.VerifyEvents(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestChainAfterRollbacks: what a savepoint or a whole batch undoes is no part of
// the chain, and the next event builds on what is there.
func TestChainAfterRollbacks(t *testing.T) {
	s, path := chained(t, 1)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := s.Write(context.Background(), func(tx *Tx) error {
				if err := tx.AppendEvent(Event{At: start, Kind: "k"}); err != nil || i%3 > 0 {
					return err
				}
				return boom
			})
			if err != nil && !errors.Is(err, boom) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != 134 {
		t.Errorf("%+v, %v", chain, err)
	}
	// A constraint that is only looked at when the batch commits undoes all of it.
	rawExec(t, raw(t, path), "CREATE TABLE late (x INTEGER REFERENCES tickets (id) DEFERRABLE INITIALLY DEFERRED)")
	err := s.Write(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.AppendEvent(Event{At: start, Kind: "lost"}), tx.exec("INSERT INTO late (x) VALUES (1)"))
	})
	if err == nil {
		t.Fatal("the commit did not fail")
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "kept"}) })
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != 135 {
		t.Errorf("%+v, %v", chain, err)
	}
}

// TestNothingIsCommittedAfterSQLiteRolledBack by itself, as where the disk is full: not
// what the write still does, whether or not it minds the error.
func TestNothingIsCommittedAfterSQLiteRolledBack(t *testing.T) {
	s, _ := chained(t, 1)
	mustWrite(t, s, func(tx *Tx) error { return tx.SetSetting("there", "x") })
	for _, minds := range []bool{true, false} {
		err := s.Write(t.Context(), func(tx *Tx) error {
			err := errors.Join(tx.exec("INSERT OR ROLLBACK INTO settings (name, value) VALUES ('there', 'y')"),
				tx.AppendEvent(Event{At: start, Kind: "after"}), tx.SetSetting("late", "x"))
			if minds {
				return err
			}
			return nil
		})
		if err == nil {
			t.Error("the write did not fail")
		}
		if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != 1 {
			t.Errorf("minds the error: %v: %+v, %v", minds, chain, err)
		}
		if _, err := s.Read(t.Context()).Setting("late"); !errors.Is(err, ErrNotFound) {
			t.Errorf("minds the error: %v: setting: %v", minds, err)
		}
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "kept"}) })
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != 2 {
		t.Errorf("%+v, %v", chain, err)
	}
}

func TestChainGoesOnAfterAllIsForgotten(t *testing.T) {
	s, _ := chained(t, 3)
	end, err := s.VerifyEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forget(t, s, Administration, Retention{Through: 3}, Forgotten{Aged: 3})
	if empty, err := s.VerifyEvents(t.Context()); err != nil || empty.First != 4 || empty.Sequence != 3 || empty.Hash != end.Hash {
		t.Errorf("%+v, %v", empty, err)
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k"}) })
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.First != 4 || chain.Sequence != 4 {
		t.Errorf("%+v, %v", chain, err)
	}
}

// TestManyEventsAreForgotten: more than one write removes, and none too many.
func TestManyEventsAreForgotten(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	const n = 2*forgottenAtOnce + 10
	mustWrite(t, s, func(tx *Tx) error {
		for range n {
			if err := tx.AppendEvent(Event{At: start, Kind: "k"}); err != nil {
				return err
			}
		}
		return nil
	})
	forget(t, s, Administration, Retention{Keep: 3}, Forgotten{Dropped: n - 3})
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.First != n-2 || chain.Sequence != n {
		t.Errorf("%+v, %v", chain, err)
	}
}

// TestAppendedWakesWhoWaits, once the events can be read and not before.
func TestAppendedWakesWhoWaits(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	appended := s.Appended()
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertTicket(sampleTicket(), "digest") })
	select {
	case <-appended:
		t.Error("woken without an event")
	default:
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k"}) })
	<-appended
	if oldest, newest, err := s.Read(t.Context()).EventSequences(); err != nil || oldest != 1 || newest != 1 {
		t.Errorf("%d to %d, %v", oldest, newest, err)
	}
}

// TestEventsOfAnOlderDatabaseAreChained: more of them than are chained at once, and
// some that retention has removed.
func TestEventsOfAnOlderDatabaseAreChained(t *testing.T) {
	const insert = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
		INSERT INTO events (at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count)
		SELECT i, 'k', i % 2, '', '', '', '', '', '', '["a"]', 1 FROM n`
	for name, tt := range map[string]struct {
		queries     []string
		first, last int64
	}{
		"none":          {nil, 1, 0},
		"all":           {[]string{insert}, 1, 250},
		"oldest gone":   {[]string{insert, "DELETE FROM events WHERE seq <= 20"}, 21, 250},
		"gap":           {[]string{insert, "DELETE FROM events WHERE seq BETWEEN 95 AND 105"}, 1, 250},
		"newest gone":   {[]string{insert, "DELETE FROM events WHERE seq > 240"}, 1, 240},
		"all forgotten": {[]string{insert, "DELETE FROM events"}, 251, 250},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := raw(t, path)
			olderSchema(t, db, 3)
			rawExec(t, db, tt.queries...)
			s := open(t, path)
			if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.First != tt.first || chain.Sequence != tt.last {
				t.Fatalf("%+v, %v", chain, err)
			}
			mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k"}) })
			if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != tt.last+1 {
				t.Errorf("%+v, %v", chain, err)
			}
		})
	}
}

// olderSchemaWithChain is that of the last version without classes.
func olderSchemaWithChain(t *testing.T, db *sql.DB) {
	t.Helper()
	migrations, err := newMigrations(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.UpTo(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
}

func olderSchema(t *testing.T, db *sql.DB, version int64) {
	t.Helper()
	files, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	migrations, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

// TestOneVerifiesAtATime: the others wait for as long as they like, without a
// connection that readers need.
func TestOneVerifiesAtATime(t *testing.T) {
	s, _ := chained(t, 1)
	s.verifying <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.VerifyEvents(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-s.verifying
	if _, err := s.VerifyEvents(t.Context()); err != nil {
		t.Error(err)
	}
}
