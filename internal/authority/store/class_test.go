package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mixed is a store with n events of each class, in turn, and its file.
func mixed(t *testing.T, n int) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	mustWrite(t, s, func(tx *Tx) error {
		var errs []error
		for range n {
			for _, class := range classes[1:] {
				errs = append(errs, tx.AppendEvent(Event{At: start, Kind: "k", Class: class}))
			}
		}
		return errors.Join(errs...)
	})
	return s, path
}

func (s *Store) countsOf(t *testing.T) string {
	t.Helper()
	counts, err := s.Read(t.Context()).countEvents()
	if err != nil || counts != s.kept {
		t.Errorf("%v events, %v; remembered are %v", counts, err, s.kept)
	}
	return fmt.Sprint(counts)
}

// TestAClassEvictsNoOther: security.md 36; and the chains of all hold, while the oldest
// of some are gone.
func TestAClassEvictsNoOther(t *testing.T) {
	s, path := mixed(t, 10) // of class i: events i, i+4, i+8 …
	forget(t, s, Traffic, Retention{Keep: 2}, Forgotten{Dropped: 8})
	forget(t, s, Unauthenticated, Retention{Through: 40}, Forgotten{Aged: 10})
	forget(t, s, Enrolment, Retention{Through: 8, Keep: 7}, Forgotten{Aged: 2, Dropped: 1})
	forget(t, s, BeforeClasses, Retention{Through: 40}, Forgotten{})
	if got := s.countsOf(t); got != "[0 10 7 2 0]" {
		t.Errorf("counts %s", got)
	}
	chain, err := s.VerifyEvents(t.Context())
	if err != nil || chain.First != 1 || chain.Sequence != 40 {
		t.Fatalf("%+v, %v", chain, err)
	}
	for i, want := range []string{" 0 0", "administration 1 37", "enrolment 14 38", "traffic 35 39", "unauthenticated 0 0"} {
		if c := chain.Classes[i]; fmt.Sprint(c.Class, " ", c.First, " ", c.Sequence) != want {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	check(t, "told", int64(8))(take(t, s, Traffic))
	check(t, "told twice", int64(0))(take(t, s, Traffic))
	for _, class := range classes[1:] { // each goes on where it ended
		mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k", Class: class}) })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.Sequence != 44 {
		t.Errorf("%+v, %v", chain, err)
	}
	if got := s.countsOf(t); got != "[0 11 8 3 1]" {
		t.Errorf("counts after a start %s", got)
	}
	if _, newest, err := s.Read(t.Context()).EventSequences(); err != nil || newest != 44 {
		t.Errorf("newest %d, %v", newest, err)
	}
}

func take(t *testing.T, s *Store, class Class) (n int64, err error) {
	t.Helper()
	err = s.Write(t.Context(), func(tx *Tx) (err error) {
		n, err = tx.TakeDropped(class)
		return err
	})
	return n, err
}

// TestWhatIsRemovedBesideRetentionIsFound, also where retention has removed what
// followed it.
func TestWhatIsRemovedBesideRetentionIsFound(t *testing.T) {
	for name, query := range map[string]string{
		"newest of a class, older than what retention removed": "DELETE FROM events WHERE seq = 37",
		"all of a class":                     "DELETE FROM events WHERE class = 'administration'",
		"oldest of a class":                  "DELETE FROM events WHERE seq = 1",
		"one in the middle":                  "DELETE FROM events WHERE seq = 21",
		"newest of all":                      "DELETE FROM events WHERE seq = 43",
		"one beyond the anchors":             "DELETE FROM events WHERE seq = 42",
		"one that none of its class follows": "DELETE FROM events WHERE seq = 41",
		"an anchor":                          "DELETE FROM event_chains WHERE class = 'enrolment'",
		"the reason":                         "UPDATE events SET reason = 'x' WHERE seq = 5",
		"to another class":                   "UPDATE events SET class = 'traffic' WHERE seq = 43",
	} {
		t.Run(name, func(t *testing.T) {
			s, path := mixed(t, 10)
			forget(t, s, Unauthenticated, Retention{Keep: 1}, Forgotten{Dropped: 9})
			forget(t, s, Traffic, Retention{Through: 40}, Forgotten{Aged: 10})
			forget(t, s, Unauthenticated, Retention{Through: 40}, Forgotten{Aged: 1})
			for _, class := range []Class{Unauthenticated, Enrolment, Enrolment} {
				mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k", Class: class}) })
			}
			if _, err := s.VerifyEvents(t.Context()); err != nil {
				t.Fatal(err)
			}
			rawExec(t, raw(t, path), "DROP TRIGGER events_no_update", "DROP TRIGGER events_delete_before_anchor", "DROP TRIGGER event_chain_stays", query)
			if chain, err := s.VerifyEvents(t.Context()); !errors.Is(err, ErrTampered) {
				t.Errorf("%+v, %v", chain, err)
			}
		})
	}
}

// TestAnOlderDatabaseGetsClasses: what it has keeps its hashes, is a chain of its own,
// and goes for its age only.
func TestAnOlderDatabaseGetsClasses(t *testing.T) {
	for name, forgotten := range map[string]bool{"whole": false, "oldest gone": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := raw(t, path)
			olderSchemaWithChain(t, db)
			var end string
			for i := range int64(6) {
				e := Event{Sequence: i + 1, At: start, Kind: "k", Count: 1}
				end = e.Hash(end)
				rawExec(t, db, fmt.Sprintf("INSERT INTO events (seq, at, kind, allowed, reason, source, admin_id, ticket_id, workload_id, token_id, audiences, count, resource, hash) VALUES (%d, %d, 'k', 0, '', '', '', '', '', '', '[]', 1, '', '%s')",
					e.Sequence, milliseconds(e.At), end))
			}
			if forgotten {
				rawExec(t, db, "UPDATE event_anchor SET (seq, hash) = (SELECT seq, hash FROM events WHERE seq = 2)", "DELETE FROM events WHERE seq <= 2")
			}
			s := open(t, path)
			for _, class := range classes[1:] {
				mustWrite(t, s, func(tx *Tx) error { return tx.AppendEvent(Event{At: start, Kind: "k", Class: class}) })
			}
			chain, err := s.VerifyEvents(t.Context())
			if err != nil || chain.Sequence != 10 || chain.Classes[0].Hash != end || chain.Classes[0].Sequence != 6 {
				t.Fatalf("%+v, %v", chain, err)
			}
			for _, c := range chain.Classes[1:] {
				if c.Follows != end {
					t.Errorf("class %q follows %s, want the end of what was before", c.Class, c.Follows)
				}
			}
			forget(t, s, Traffic, Retention{Keep: 0, Through: 6}, Forgotten{})
			if forgotten {
				forget(t, s, BeforeClasses, Retention{Through: 6}, Forgotten{Aged: 4})
			} else {
				forget(t, s, BeforeClasses, Retention{Through: 6}, Forgotten{Aged: 6})
			}
			if chain, err := s.VerifyEvents(t.Context()); err != nil || chain.First != 7 {
				t.Errorf("%+v, %v", chain, err)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	s, _ := chained(t, 0)
	if _, err := s.Read(t.Context()).LastMark(); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	for i := range 5 {
		mustWrite(t, s, func(tx *Tx) error {
			return errors.Join(tx.AppendEvent(Event{At: start, Kind: "k"}), tx.MarkEvents(time.Duration(i)*time.Hour, start))
		})
	}
	q := s.Read(t.Context())
	check(t, "last", Mark{Sequence: 5, Witnessed: 4 * time.Hour, At: start})(q.LastMark())
	mustWrite(t, s, func(tx *Tx) error { return tx.ForgetMarks(2*time.Hour + time.Minute) })
	for witnessed, want := range map[time.Duration]int64{-time.Hour: 0, time.Hour: 0, 2 * time.Hour: 3, 3*time.Hour - 1e6: 3, 9 * time.Hour: 5} {
		check(t, "marked by "+witnessed.String(), want)(q.MarkedBy(witnessed))
	}
}

// TestCountedEvents come back once, alike ones together, and not where their write failed.
func TestCountedEvents(t *testing.T) {
	s, _ := chained(t, 0)
	boom := errors.New("boom")
	alike := Event{Kind: "id_token", Allowed: true, WorkloadID: "pr1:a", TicketID: "tk1:a"}
	for i := range 6 {
		err := s.Write(t.Context(), func(tx *Tx) error {
			e := alike
			e.Reason, e.Allowed = fmt.Sprint("r", i), i != 2
			err := tx.CountEvent(e)
			if i == 4 {
				err = errors.Join(err, boom)
			}
			return err
		})
		if i == 4 != errors.Is(err, boom) {
			t.Fatal(err)
		}
	}
	mustWrite(t, s, func(tx *Tx) error {
		refused := alike
		refused.Allowed, refused.Reason, refused.Count = false, "r2", 1
		alike.Reason, alike.Count = "r5", 4
		check(t, "taken", []Event{refused, alike})(tx.TakeCounted(10))
		check[[]Event](t, "taken twice", nil)(tx.TakeCounted(10))
		return nil
	})
}

// TestWindowsSkipWhatIsGone: a listing does not look through numbers that nothing has.
func TestWindowsSkipWhatIsGone(t *testing.T) {
	s, _ := mixed(t, 100)
	forget(t, s, Traffic, Retention{Through: 400}, Forgotten{Aged: 100})
	forget(t, s, Unauthenticated, Retention{Through: 400}, Forgotten{Aged: 100})
	q := s.Read(t.Context())
	check(t, "before", int64(201))(q.EventWindowBefore(401, 100))
	check(t, "before all", int64(1))(q.EventWindowBefore(1, 100))
	check(t, "after", int64(198))(q.EventWindowAfter(0, 100))
	check(t, "after all", int64(400))(q.EventWindowAfter(400, 100))
	oldest, newest, err := q.EventSequences()
	if err != nil || oldest != 1 || newest != 400 {
		t.Errorf("%d to %d, %v", oldest, newest, err)
	}
}

func TestTheAnchorOfAClassIsAnEventOfIt(t *testing.T) {
	_, path := mixed(t, 2)
	db := raw(t, path)
	_, err := db.ExecContext(t.Context(), "UPDATE event_chains SET (seq, hash) = (SELECT seq, hash FROM events WHERE seq = 5) WHERE class = 'traffic'")
	if err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("%v", err)
	}
}

// TestCurrentWorkload is as the writes before left it, also those of the same write and
// of the same commit, whatever is remembered.
func TestCurrentWorkload(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	mustWrite(t, s, func(tx *Tx) error {
		return errors.Join(tx.InsertTicket(sampleTicket(), "digest"), tx.InsertWorkload(Workload{ID: "pr1:a", TicketID: sampleTicket().ID, CreatedAt: start}))
	})
	status := func(tx *Tx, want string) error {
		now, err := tx.CurrentWorkload("pr1:a")
		if err == nil && now.Workload.Status != want {
			t.Errorf("status %s, want %s", now.Workload.Status, want)
		}
		return err
	}
	if _, err := s.Read(t.Context()).Workload("pr1:a"); err != nil { // it is remembered
		t.Fatal(err)
	}
	mustWrite(t, s, func(tx *Tx) error {
		return errors.Join(status(tx, TicketActive), tx.SetWorkloadStatus("pr1:a", TicketDeactivated), status(tx, TicketDeactivated))
	})
	mustWrite(t, s, func(tx *Tx) error { return status(tx, TicketDeactivated) })
	mustWrite(t, s, func(tx *Tx) error {
		_, err := tx.CurrentWorkload("pr1:b")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("another one: %v", err)
		}
		return nil
	})
}
