package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// queueLength is how many writes may wait; further callers block.
	queueLength = 1024
	// batchLength is how many waiting writes share one commit, and so one fsync.
	batchLength = 128
	// restPerWrite and maxRest are how long no commit begins after one that was shared.
	restPerWrite = 100 * time.Microsecond
	maxRest      = 10 * time.Millisecond
)

// write is one waiting write.
type write struct {
	ctx  context.Context
	fn   func(*Tx) error
	err  error
	done chan struct{}
}

// Tx is one write: everything in it happens, or nothing.
type Tx struct {
	Queries
	store    *Store
	ends     *ends    // of the chains of events; nil until they are read
	kept     perClass // events that there are more
	appended bool     // there are more events, perhaps
	wrote    bool     // rows were changed
	altered  bool     // among them such as are remembered of workloads, perhaps
	contacts []contact
}

// contact is when a workload was heard of.
type contact struct {
	workloadID string
	at         time.Time
}

// Write runs fn and commits what it did; an error from fn undoes it and comes
// back as it is. fn runs on the store's writing goroutine, after and before
// other writes, never beside one: it must be short and must not call Write.
// When Write returns, the commit is on disk or did not happen.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := s.enqueue(ctx, w); err != nil {
		return err
	}
	<-w.done
	return w.err
}

func (s *Store) enqueue(ctx context.Context, w *write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- w:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write to database: %w", context.Cause(ctx))
	}
}

// writeLoop owns the writing connection until the queue is closed.
func (s *Store) writeLoop(conn *sql.Conn) {
	defer close(s.done)
	prepared := newStatements(conn)
	var earliest time.Time // for the next commit
	for first := range s.queue {
		time.Sleep(time.Until(earliest))
		batch := s.gather(first)
		s.commit(conn, prepared, batch)
		earliest = time.Now().Add(rest(len(batch)))
		for _, w := range batch {
			close(w.done)
		}
	}
	prepared.close()
	_ = guardCommits(conn, nil)
	_ = conn.Close() // gives it back to the pool, which Close closes
}

// rest is how long the next commit waits after one that this many writes shared. What
// a commit costs by itself does not depend on their number, and where many write at once
// more are on their way: those that come meanwhile share the next one. It is nothing
// where one writes alone, and little beside the commit itself where a few do; it grows
// to where the machine is busy, and the processor gets to do something else.
func rest(shared int) time.Duration {
	return min(time.Duration(shared-1)*restPerWrite, maxRest)
}

// gather takes what waits behind first, so that all share one commit.
func (s *Store) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < batchLength {
		select {
		case w, ok := <-s.queue:
			if !ok {
				return batch
			}
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction, each write in its own savepoint. No
// caller's context governs it: one that gives up must not undo the others.
func (s *Store) commit(conn *sql.Conn, prepared *statements, batch []*write) {
	ctx := context.Background()
	tx := &Tx{Queries: Queries{ctx: ctx, statements: prepared}, store: s}
	err := tx.control(beginWrite)
	for i := 0; i < len(batch) && err == nil; i++ {
		batch[i].err, err = tx.runOne(batch[i])
	}
	if err == nil {
		s.committing = true
		err = tx.control("COMMIT")
		s.committing = false
	}
	if err != nil {
		_ = tx.control("ROLLBACK") // SQLite may have done so by itself
		s.spent.undo(0)
		failAll(batch, err)
	}
	s.spent.fresh = s.spent.fresh[:0]
	if err != nil || tx.altered {
		s.memory.forget()
	}
	s.noteFailure(tx, batch)
	if err != nil {
		return
	}
	for i, more := range tx.kept {
		s.kept[i] += more
	}
	for _, c := range tx.contacts {
		s.memory.contacted(c.workloadID, c.at)
	}
	if tx.appended {
		s.appended.ring()
	}
}

// mayCommit lets SQLite commit nothing but a whole batch. Where storage fails in the
// middle of a statement, SQLite takes the whole transaction back by itself, and would
// commit each further statement of that write alone: an event, say, of what did not
// happen.
func (s *Store) mayCommit() bool { return s.committing }

// noteFailure notes whether the file could be written, if there was something to write.
func (s *Store) noteFailure(tx *Tx, batch []*write) {
	failed := slices.ContainsFunc(batch, func(w *write) bool {
		return errors.Is(w.err, ErrStorage) || errors.Is(w.err, ErrDamaged)
	})
	if failed || tx.wrote {
		s.failing.Store(failed)
	}
}

// runOne returns the write's own error, and what ends the whole transaction: SQLite
// takes all of it back by itself where the disk is full, for instance. A savepoint
// would then begin another transaction, and its release would commit that.
func (tx *Tx) runOne(w *write) (err, fatal error) {
	if w.ctx.Err() != nil {
		return fmt.Errorf("write to database: %w", context.Cause(w.ctx)), nil
	}
	if err := tx.control("SAVEPOINT one"); err != nil {
		return err, err
	}
	spentBefore, wroteBefore, contactsBefore, keptBefore := len(tx.store.spent.fresh), tx.wrote, len(tx.contacts), tx.kept
	defer func() {
		// A panic must not take the writer, and with it every other caller, down.
		if p := recover(); p != nil {
			err = fmt.Errorf("write to database: panic: %v", p)
		}
		if err != nil {
			tx.store.spent.undo(spentBefore)
			tx.wrote, tx.contacts, tx.kept = wroteBefore, tx.contacts[:contactsBefore], keptBefore
			tx.ends = nil // read again: the rollback may take events back
			fatal = tx.control("ROLLBACK TO SAVEPOINT one")
		}
		if fatal == nil {
			fatal = tx.control("RELEASE SAVEPOINT one")
		}
		if fatal != nil && err != nil {
			fatal = errors.Join(err, fatal) // why the others fail with it
		}
	}()
	return w.fn(tx), nil
}

func failAll(batch []*write, err error) {
	for _, w := range batch {
		if w.err == nil {
			w.err = err
		}
	}
}

// control runs a statement about the transaction.
func (tx *Tx) control(query string) error {
	_, err := tx.run(query)
	return err
}

// exec runs a statement that changes something.
func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.change(query, args...)
	return err
}

// change runs a statement and returns how many rows it changed.
func (tx *Tx) change(query string, args ...any) (int64, error) {
	tx.altered = true
	return tx.note(query, args...)
}

// note is change for a statement that changes nothing which is remembered of
// workloads: it notes what happened.
func (tx *Tx) note(query string, args ...any) (int64, error) {
	result, err := tx.run(query, args...)
	if err != nil {
		return 0, err
	}
	changed, err := result.RowsAffected()
	tx.wrote = tx.wrote || changed > 0
	return changed, err
}

func (tx *Tx) run(query string, args ...any) (sql.Result, error) {
	stmt, err := tx.statements.get(query)
	if err != nil {
		return nil, err
	}
	result, err := stmt.ExecContext(tx.ctx, args...)
	if isDuplicate(err) {
		return nil, ErrDuplicate
	}
	if isInUse(err) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("write to database: %w", explain(err))
	}
	return result, nil
}
