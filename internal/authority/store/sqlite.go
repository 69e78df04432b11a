package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

const (
	// busyTimeout is how long SQLite waits, in milliseconds, for another process
	// that holds the file's write lock (a backup, say).
	busyTimeout = "5000"
	// fullCheckBytes is the largest file that is read whole, for damage, at start.
	fullCheckBytes = 64 << 20
	// readConnections is how many readers may run beside the writer.
	readConnections = 4
	beginWrite      = "BEGIN IMMEDIATE"
	// lastSequenceGiven is the number of the newest event there ever was.
	lastSequenceGiven = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
)

// giveSequencesFrom makes last the number of the newest event there ever was.
func giveSequencesFrom(ctx context.Context, tx *sql.Tx, last int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE sqlite_sequence SET seq = $1 WHERE name = 'events'", last)
	return err
}

// openSQLite opens the file, creating it with mode 0600, and brings its schema up
// to date. SQLite gives its -wal and -shm files the mode of the main file.
func openSQLite(ctx context.Context, path string) (writes, reads *sql.DB, err error) {
	size, err := touch(path)
	if err != nil {
		return nil, nil, err
	}
	writes, err = sql.Open("sqlite", dsn(path, "foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, nil, fmt.Errorf("open database %s: %w", path, err)
	}
	writes.SetMaxOpenConns(1)
	if err := prepareSchema(ctx, writes, size); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open database %s: %w", path, explain(err)), writes.Close())
	}
	reads, err = sql.Open("sqlite", dsn(path, "query_only(1)"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), writes.Close())
	}
	reads.SetMaxOpenConns(readConnections)
	reads.SetMaxIdleConns(readConnections)
	return writes, reads, nil
}

// touch makes the file if it is not there. An empty one was cut off, and is not to be
// taken for a new one.
func touch(path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return 0, fmt.Errorf("open database: %w; its folder and file must be writable for user id %d", err, os.Geteuid())
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("open database: %w", err)
	}
	if !made && info.Size() == 0 {
		return 0, fmt.Errorf("open database %s: %w: it is empty", path, ErrDamaged)
	}
	return info.Size(), nil
}

func dsn(path string, pragmas ...string) string {
	query := url.Values{"_pragma": append([]string{"busy_timeout(" + busyTimeout + ")"}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

func prepareSchema(ctx context.Context, db *sql.DB, size int64) error {
	if size > 0 && size <= fullCheckBytes {
		if err := checkIntegrity(ctx, db, "quick_check"); err != nil {
			return err
		}
	}
	if err := refuseBackup(ctx, db); err != nil {
		return err
	}
	migrations, err := newMigrations(db)
	if err != nil {
		return err
	}
	if _, _, err := schemaVersions(ctx, db); err != nil {
		return err
	}
	_, err = migrations.Up(ctx)
	return err
}

// checkIntegrity runs quick_check, or integrity_check, which also compares indexes
// with their tables.
func checkIntegrity(ctx context.Context, db *sql.DB, check string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA "+check+"(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, verdict)
	}
	return nil
}

func newMigrations(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(31, &goose.GoFunc{RunTx: chainOldEvents}, nil)))
}

// schemaVersions returns the schema's version and the newest that this program knows,
// or an error if it is newer than that.
func schemaVersions(ctx context.Context, db *sql.DB) (current, target int64, err error) {
	migrations, err := newMigrations(db)
	if err != nil {
		return 0, 0, err
	}
	current, target, err = migrations.GetVersions(ctx)
	if err == nil && current > target {
		err = fmt.Errorf("its schema has version %d, this program knows up to %d; use the newer program", current, target)
	}
	return current, target, err
}

// guardCommits makes SQLite ask before each commit on the connection, and take the
// transaction back where the answer is no; nil asks no more.
func guardCommits(conn *sql.Conn, may func() bool) error {
	return conn.Raw(func(driver any) error {
		hooks, ok := driver.(sqlite.HookRegisterer)
		switch {
		case !ok:
			return fmt.Errorf("guard commits: the driver's connection is a %T", driver)
		case may == nil:
			hooks.RegisterCommitHook(nil)
			return nil
		}
		hooks.RegisterCommitHook(func() int32 {
			if may() {
				return 0
			}
			return 1
		})
		return nil
	})
}

// explain turns SQLite's result codes into what an operator can act on.
func explain(err error) error {
	var sqliteErr *sqlite.Error
	if !errors.As(err, &sqliteErr) {
		return err
	}
	switch sqliteErr.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%w: %w; the folder and the file must be writable for user id %d", ErrStorage, err, os.Geteuid())
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w; make room on the file system", ErrStorage, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: %w; is there room on the file system, and does its device work?", ErrStorage, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%w: %w; another process holds the file", ErrStorage, err)
	}
	return err
}

// isInUse reports whether err says that another row refers to the one that was to go.
func isInUse(err error) bool {
	var sqliteErr *sqlite.Error
	return errors.As(err, &sqliteErr) && sqliteErr.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// isDuplicate reports whether err says that a unique value exists already.
func isDuplicate(err error) bool {
	var sqliteErr *sqlite.Error
	if !errors.As(err, &sqliteErr) {
		return false
	}
	code := sqliteErr.Code()
	return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}
