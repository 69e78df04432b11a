package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIDsAreForgottenOnceExpired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	const old = 2*forgottenSpentAtOnce + 1
	mustWrite(t, s, func(tx *Tx) error {
		var errs []error
		for i := range old {
			_, err := tx.SpendID("w", fmt.Sprint("old", i), start)
			errs = append(errs, err)
		}
		_, err := tx.SpendID("w", "young", start.Add(time.Minute))
		return errors.Join(append(errs, err)...)
	})
	if err := s.ForgetSpentIDs(t.Context(), start.Add(spentGrace+time.Second)); err != nil {
		t.Fatal(err)
	}
	check(t, "rows that are left", int64(1))(s.Read(t.Context()).count("SELECT COUNT(*) FROM spent_ids"))
	mustWrite(t, s, func(tx *Tx) error {
		check(t, "young", false)(tx.SpendID("w", "young", start))
		check(t, "old, of which nobody can tell", false)(tx.SpendID("w", "old0", start))
		check(t, "of another time", true)(tx.SpendID("w", "old0", start.Add(time.Second)))
		return nil
	})
}

func TestSpentIDsAreBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	for i := range int64(MaxSpentIDs) {
		var digest spentDigest
		binary.BigEndian.PutUint64(digest[:], uint64(i))
		s.spent.until[digest] = i
	}
	spend := func() error {
		return s.Write(t.Context(), func(tx *Tx) error {
			_, err := tx.SpendID("w", "one more", start)
			return err
		})
	}
	if err := spend(); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := s.ForgetSpentIDs(t.Context(), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	if err := spend(); err != nil {
		t.Errorf("after one was forgotten: %v", err)
	}
}

// TestAnIDIsSpentByWhatIsCommitted: not by what was undone, alone or with its batch, and
// after a start as before it.
func TestAnIDIsSpentByWhatIsCommitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	rawExec(t, raw(t, path), "CREATE TABLE late (x INTEGER REFERENCES tickets (id) DEFERRABLE INITIALLY DEFERRED)")
	const writers = 30
	id := func(i int) string { return fmt.Sprint("id", i) }
	wantFresh := func(fresh func(i int) bool) {
		t.Helper()
		undone := errors.New("undone")
		for i := range writers {
			err := s.Write(t.Context(), func(tx *Tx) error {
				check(t, id(i), fresh(i))(tx.SpendID("w", id(i), start))
				return undone
			})
			if !errors.Is(err, undone) {
				t.Fatal(err)
			}
		}
	}
	writeTogether(t, s, writers, func(i int, tx *Tx) error {
		_, err := tx.SpendID("w", id(i), start)
		if i == 17 { // only looked at when the batch commits: undoes all of it
			err = errors.Join(err, tx.exec("INSERT INTO late (x) VALUES (1)"))
		}
		return err
	})
	wantFresh(func(int) bool { return true })
	boom := errors.New("boom")
	writeTogether(t, s, writers, func(i int, tx *Tx) error {
		_, err := tx.SpendID("w", id(i), start)
		if i%3 == 0 {
			err = errors.Join(err, boom)
		}
		return err
	})
	wantFresh(func(i int) bool { return i%3 == 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	wantFresh(func(i int) bool { return i%3 == 0 })
}

func TestSpentIDsThatWereChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	rawExec(t, raw(t, path), "INSERT INTO spent_ids (digest, expires_at) VALUES ('x', 1)")
	s, err := Open(t.Context(), path)
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "the database was changed") {
		t.Errorf("error %v", err)
	}
}
