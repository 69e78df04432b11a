package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// empty is a file to write a backup into.
func empty(t *testing.T) string {
	t.Helper()
	return file(t, nil)
}

// TestABackupIsOfOneMoment, whatever is written meanwhile.
func TestABackupIsOfOneMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Both or neither are in a backup.
			ticket := sampleTicket()
			ticket.ID = fmt.Sprint("tk1:", i)
			if err := s.Write(t.Context(), func(tx *Tx) error {
				return errors.Join(tx.InsertTicket(ticket, ticket.ID), tx.AppendEvent(Event{At: start, Kind: "k", TicketID: ticket.ID}))
			}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for before := int64(0); before < 50; {
		_, newest, err := s.Read(t.Context()).EventSequences()
		if err != nil {
			t.Fatal(err)
		}
		before = newest
	}
	_, before, err := s.Read(t.Context()).EventSequences()
	if err != nil {
		t.Fatal(err)
	}
	backup := empty(t)
	made, err := WriteBackup(t.Context(), path, backup, start)
	close(stop)
	wg.Wait()
	if err != nil || made.Events.Sequence < before || !made.TakenAt.Equal(start) {
		t.Fatalf("%+v, %v; there were %d events", made, err, before)
	}
	if read, err := ReadBackup(t.Context(), backup); err != nil || !read.TakenAt.Equal(start) {
		t.Errorf("%+v, %v", read, err)
	}
	entries, err := os.ReadDir(filepath.Dir(backup))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the backup: %v, %v", entries, err)
	}
	if _, err := Open(t.Context(), backup); err == nil || !strings.Contains(err.Error(), "it is a backup") {
		t.Errorf("opened as it is: %v", err)
	}
	restored, err := OpenBackup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	tickets, err := restored.Read(t.Context()).count("SELECT COUNT(*) FROM tickets")
	if err != nil || tickets != made.Events.Sequence {
		t.Errorf("%d tickets, %v, and %d events", tickets, err, made.Events.Sequence)
	}
	if _, err := restored.Read(t.Context()).Setting(backupTakenAt); !errors.Is(err, ErrNotFound) {
		t.Errorf("it still says it is a backup: %v", err)
	}
}

// TestWhatCannotBeBackedUp is found when there is still something to restore.
func TestWhatCannotBeBackedUp(t *testing.T) {
	tampered := func(t *testing.T) string {
		_, path := chained(t, 3)
		rawExec(t, raw(t, path), "DROP TRIGGER events_no_update", "UPDATE events SET reason = 'x' WHERE seq = 2")
		return path
	}
	older := func(t *testing.T) string {
		path := file(t, sampleFile(t, func(b []byte) []byte { return b }))
		rawExec(t, raw(t, path), "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
		return path
	}
	for name, tt := range map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"changed activity": {tampered, ErrTampered.Error()},
		"newer program":    {newerSchema, "use the newer program"},
		"older program":    {older, "of an older program"},
		"nothing":          {func(t *testing.T) string { return filepath.Join(t.TempDir(), "db") }, "unable to open"},
		"no database":      {func(t *testing.T) string { return file(t, []byte(strings.Repeat("no database. ", 1000))) }, "damaged"},
		"damaged": {func(t *testing.T) string {
			return file(t, sampleFile(t, func(b []byte) []byte {
				for i := 3 * 4096; i < len(b); i += 7 {
					b[i] ^= 0x5a
				}
				return b
			}))
		}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tt.path(t)
			if _, err := WriteBackup(t.Context(), path, empty(t), start); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestABackupOfAnOlderProgram gets the schema of this one.
func TestABackupOfAnOlderProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	mustWrite(t, s, func(tx *Tx) error {
		return errors.Join(tx.InsertTicket(sampleTicket(), "digest"), tx.AppendEvent(Event{At: start, Kind: "k"}))
	})
	backup := empty(t)
	if _, err := WriteBackup(t.Context(), path, backup, start); err != nil {
		t.Fatal(err)
	}
	migrations, err := newMigrations(raw(t, backup))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.DownTo(t.Context(), 39); err != nil {
		t.Fatal(err)
	}
	restored, err := OpenBackup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	ticket, err := restored.Read(t.Context()).Ticket(sampleTicket().ID)
	if err != nil || ticket.Closed {
		t.Errorf("%+v, %v", ticket, err)
	}
}

func TestCloseTickets(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	opened, closed := sampleTicket(), sampleTicket()
	closed.ID, closed.Closed = "tk1:closed", true
	later := start.Add(time.Hour)
	mustWrite(t, s, func(tx *Tx) error {
		if err := errors.Join(tx.InsertTicket(opened, "a"), tx.InsertTicket(closed, "b")); err != nil {
			return err
		}
		check(t, "closed", int64(1))(tx.CloseTickets("why", later))
		return nil
	})
	got, err := s.Read(t.Context()).Tickets("", 10)
	if err != nil || len(got) != 2 || !got[0].Closed || got[0].ClosedBecause != "why" || !got[0].UpdatedAt.Equal(later) || got[0].Version != 2 ||
		!got[1].Closed || got[1].ClosedBecause != "" || got[1].Version != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, closed := range []bool{true, false, true} {
		got[0].Closed = closed
		mustWrite(t, s, func(tx *Tx) error { return tx.UpdateTicket(got[0]) })
	}
	if now, err := s.Read(t.Context()).Ticket(opened.ID); err != nil || !now.Closed || now.ClosedBecause != "" {
		t.Errorf("opened, and closed by an administrator: %+v, %v", now, err)
	}
}
