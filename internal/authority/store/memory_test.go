package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// enrolOne adds a ticket and a workload of that number.
func enrolOne(t *testing.T, s *Store, n int) (workloadID, ticketID string) {
	t.Helper()
	workloadID, ticketID = fmt.Sprint("pr1:", n), fmt.Sprint("tk1:", n)
	mustWrite(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.InsertTicket(Ticket{ID: ticketID, Role: "workload", Status: TicketActive, CreatedAt: start}, fmt.Sprint("digest ", n)),
			tx.InsertWorkload(Workload{ID: workloadID, TicketID: ticketID, Thumbprint: fmt.Sprint("key ", n), JWK: "{}", CreatedAt: start}))
	})
	return workloadID, ticketID
}

func readOne(t *testing.T, s *Store, id string) Enrolled {
	t.Helper()
	found, err := s.Read(t.Context()).Workload(id)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Whatever is changed is seen by who reads after the write, also of what others
// remember meanwhile.
func TestAChangeIsSeenAtOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lanyard.db"))
	id, ticketID := enrolOne(t, s, 1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := s.Read(t.Context()).Workload(id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		status := []string{TicketActive, TicketDeactivated}[i%2]
		mustWrite(t, s, func(tx *Tx) error { return tx.SetWorkloadStatus(id, status) })
		if got := readOne(t, s, id).Workload.Status; got != status {
			t.Fatalf("after change %d the workload is %s", i, got)
		}
		key := fmt.Sprint("key ", i, " anew")
		mustWrite(t, s, func(tx *Tx) error { return tx.ReplaceWorkloadKey(id, key, "{}") })
		if got := readOne(t, s, id).Workload.Thumbprint; got != key {
			t.Fatalf("after change %d the key is %q", i, got)
		}
		mustWrite(t, s, func(tx *Tx) error {
			return tx.UpdateTicket(Ticket{ID: ticketID, Role: "workload", Status: status, MaxUses: int64(i), UpdatedAt: start})
		})
		if got := readOne(t, s, id).Ticket; got.Status != status || got.MaxUses != int64(i) {
			t.Fatalf("after change %d the ticket is %+v", i, got)
		}
	}
	close(done)
	readers.Wait()
}

// What happens is no change: the workload is not read again, and its last contact is
// known all the same.
func TestWhatHappensIsRemembered(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lanyard.db"))
	id, _ := enrolOne(t, s, 1)
	w := readOne(t, s, id).Workload
	later := start.Add(time.Hour)
	mustWrite(t, s, func(tx *Tx) error {
		_, err := tx.SpendID("a", "b", later)
		return errors.Join(err, tx.AppendEvent(Event{At: later, Kind: "id_token"}), tx.Contacted(w, later))
	})
	if _, _, remembered := s.memory.recall(id); !remembered {
		t.Error("it was forgotten")
	}
	if got := readOne(t, s, id).Workload.LastContactAt; !got.Equal(later) {
		t.Errorf("remembered contact %s, want %s", got, later)
	}
	s.memory.forget()
	if got := readOne(t, s, id).Workload.LastContactAt; !got.Equal(later) {
		t.Errorf("contact in the database %s, want %s", got, later)
	}
}

// A contact that is taken back with its write is none.
func TestAContactThatIsTakenBack(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lanyard.db"))
	id, _ := enrolOne(t, s, 1)
	w := readOne(t, s, id).Workload
	failed := errors.New("no")
	err := s.Write(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.Contacted(w, start.Add(time.Hour)), failed)
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if got := readOne(t, s, id).Workload.LastContactAt; !got.Equal(w.LastContactAt) {
		t.Errorf("contact %s, want %s", got, w.LastContactAt)
	}
}

// What was read before a change is not remembered after it.
func TestWhatWasReadBeforeAChangeIsNotRemembered(t *testing.T) {
	m := newMemory()
	_, changes, _ := m.recall("pr1:a")
	m.forget()
	m.remember(Enrolled{Workload: Workload{ID: "pr1:a"}}, changes)
	if _, _, remembered := m.recall("pr1:a"); remembered {
		t.Error("it is remembered")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range 2*maxRemembered + 1 {
		m.remember(Enrolled{Workload: Workload{ID: fmt.Sprint(i)}}, 0)
	}
	if n := len(m.known); n > maxRemembered || n == 0 {
		t.Errorf("%d are remembered", n)
	}
}
