package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers tell apart.
var (
	ErrNotFound  = errors.New("not found")
	ErrDuplicate = errors.New("exists already")
	ErrInUse     = errors.New("something else refers to it")
	ErrDamaged   = errors.New("the file is damaged or no database; restore a backup (lanyard authority restore), or move it away to start anew")
	ErrStorage   = errors.New("the storage fails")
	ErrClosed    = errors.New("the store is closed")
	ErrFull      = errors.New("too many JWT ids to remember; try again in a minute")
)

// Store is the authority's memory. It is safe for concurrent use. Reads see what
// was committed; all writes go through one goroutine, which Close waits for.
type Store struct {
	writes *sql.DB
	reads  *sql.DB
	read   *statements
	memory *memory

	failing atomic.Bool // the last commit that had something to write did not succeed

	spent      spentIDs // of the writer alone
	kept       perClass // events that there are; of the writer alone
	committing bool     // a batch is being committed; of the writer alone

	appended  bell          // rung when there are more events
	probing   chan struct{} // held by who tries whether the file can be written again
	verifying chan struct{} // held by who verifies them: it takes long, and readers are few

	mu     sync.RWMutex // guards closed, and the queue against being closed while written to
	closed bool
	queue  chan *write
	done   chan struct{} // closed when the writer has ended
}

// Open opens the SQLite file at path, or makes it, and brings its schema up to
// date. Errors say what is wrong with the file or its folder.
func Open(ctx context.Context, path string) (*Store, error) {
	writes, reads, err := openSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	conn, err := writes.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, explain(err)), writes.Close(), reads.Close())
	}
	s := &Store{
		writes: writes,
		reads:  reads,
		read:   newStatements(reads),
		memory: newMemory(),
		queue:  make(chan *write, queueLength),
		done:   make(chan struct{}),

		probing:   make(chan struct{}, 1),
		verifying: make(chan struct{}, 1),
	}
	err = s.spent.read(s.Read(ctx))
	if err == nil {
		s.kept, err = s.Read(ctx).countEvents()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), conn.Close(), writes.Close(), reads.Close())
	}
	if err := guardCommits(conn, s.mayCommit); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), conn.Close(), writes.Close(), reads.Close())
	}
	go s.writeLoop(conn)
	return s, nil
}

// Close lets accepted writes finish, then closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.done
	s.read.close()
	return errors.Join(s.writes.Close(), s.reads.Close())
}

// Read returns the queries, over the committed state.
func (s *Store) Read(ctx context.Context) Queries {
	return Queries{ctx: ctx, statements: s.read, memory: s.memory}
}

// Queries are the reads, either over the committed state or inside a write.
type Queries struct {
	ctx        context.Context
	statements *statements
	memory     *memory // of what is committed; nil inside a write
}

func (q Queries) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := q.statements.get(query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(q.ctx, args...)
	if err != nil {
		return nil, explain(err)
	}
	return rows, nil
}

// row scans the single row of a query; no row is ErrNotFound. It finishes what it
// began: to watch for the end of a context, database/sql and the driver start two
// goroutines, which cost more than the row.
func (q Queries) row(dest []any, query string, args ...any) error {
	stmt, err := q.statements.get(query)
	if err != nil {
		return err
	}
	if q.ctx.Err() != nil {
		return context.Cause(q.ctx)
	}
	err = stmt.QueryRowContext(context.WithoutCancel(q.ctx), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return explain(err)
}

func (q Queries) count(query string, args ...any) (int64, error) {
	var n int64
	err := q.row([]any{&n}, query, args...)
	return n, err
}

// probeBytes is what Ready writes: more than any request does, or a nearly full disk
// would be found ready for nothing.
const probeBytes = 64 << 10

// Ready reports whether the file answers, and whether it can be written, if not so
// lately: then it is tried, as nobody else might.
func (s *Store) Ready(ctx context.Context) error {
	if _, err := s.Read(ctx).count("SELECT COUNT(*) FROM settings"); err != nil {
		return fmt.Errorf("read database: %w", err)
	}
	if !s.failing.Load() {
		return nil
	}
	select { // one at a time: whoever asks must not keep the writer busy
	case s.probing <- struct{}{}:
		defer func() { <-s.probing }()
	default:
		return fmt.Errorf("write to database: the last write failed, and another one is being tried: %w", ErrStorage)
	}
	const name = "probe"
	if err := s.Write(ctx, func(tx *Tx) error { return tx.SetSetting(name, strings.Repeat("x", probeBytes)) }); err != nil {
		return err
	}
	return s.Write(ctx, func(tx *Tx) error { return tx.exec("DELETE FROM settings WHERE name = $1", name) })
}

// statements prepares each query once.
type statements struct {
	on interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt // by query text; the queries are constants
}

func newStatements(on interface {
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}) *statements {
	return &statements{on: on, prepared: make(map[string]*sql.Stmt)}
}

func (s *statements) get(query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt, ok := s.prepared[query]
	s.mu.RUnlock()
	if ok {
		return stmt, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt, ok := s.prepared[query]; ok {
		return stmt, nil
	}
	// Not the caller's context: the statement outlives it.
	stmt, err := s.on.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", explain(err))
	}
	s.prepared[query] = stmt
	return stmt, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.prepared {
		_ = stmt.Close() // the connection goes right after it
	}
	clear(s.prepared)
}

// milliseconds is how a time is stored; the zero time is 0.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilliseconds(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
