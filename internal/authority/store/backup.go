package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A backup is a database that says of itself that it is one, so that a wrong file is
// not taken for it, nor started from without what a restore has to do.
const (
	backupMark    = 0x4c594142 // PRAGMA application_id: "LYAB"
	backupFormat  = 1          // PRAGMA user_version
	backupTakenAt = "backup_taken_at"
)

// ErrNoBackup marks a file that is not a backup that this program knows.
var ErrNoBackup = errors.New("no backup that this program can restore")

// Backup describes a backup.
type Backup struct {
	TakenAt time.Time // what was committed before is in it
	Events  Chain     // the activity in it; of ReadBackup, nothing
}

// WriteBackup copies what is committed in the SQLite file at from, which an authority
// may be using meanwhile, into the empty file at to. The copy was found intact.
func WriteBackup(ctx context.Context, from, to string, now time.Time) (Backup, error) {
	if err := copyCommitted(ctx, from, to); err != nil {
		return Backup{}, fmt.Errorf("back up database %s: %w", from, explain(err))
	}
	b, err := markBackup(ctx, to, now)
	if err != nil {
		return Backup{}, fmt.Errorf("back up database %s: %w", from, explain(err))
	}
	return b, nil
}

func copyCommitted(ctx context.Context, from, to string) (err error) {
	db, err := sql.Open("sqlite", dsn(from)+"&mode=rw") // not made if it is not there
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	current, target, err := schemaVersions(ctx, db)
	switch {
	case err != nil:
		return err
	case current < target:
		return fmt.Errorf("its schema has version %d, of an older program: back it up by that one, or start the authority by this one before", current)
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO $1", to)
	return err
}

// markBackup makes the copy a backup, and looks whether it could be restored.
func markBackup(ctx context.Context, path string, now time.Time) (b Backup, err error) {
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(DELETE)", "synchronous(FULL)"))
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		"PRAGMA application_id = " + strconv.Itoa(backupMark),
		"PRAGMA user_version = " + strconv.Itoa(backupFormat),
		"INSERT INTO settings (name, value) VALUES ('" + backupTakenAt + "', '" + decimal(milliseconds(now)) + "')",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return Backup{}, err
		}
	}
	if err := checkIntegrity(ctx, db, "integrity_check"); err != nil {
		return Backup{}, err
	}
	statements := newStatements(db)
	defer statements.close()
	events, err := Queries{ctx: ctx, statements: statements}.verifyEvents()
	return Backup{TakenAt: now, Events: events}, err
}

// ReadBackup returns what the backup at path says of itself, or ErrNoBackup. It
// changes nothing.
func ReadBackup(ctx context.Context, path string) (Backup, error) {
	b, err := readBackup(ctx, path)
	if err != nil {
		return Backup{}, fmt.Errorf("read backup %s: %w", path, err)
	}
	return b, nil
}

func readBackup(ctx context.Context, path string) (b Backup, err error) {
	db, err := sql.Open("sqlite", dsn(path)+"&mode=ro&immutable=1")
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var mark, format int64
	if err := db.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)").
		Scan(&mark, &format); err != nil {
		return Backup{}, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	switch {
	case mark != backupMark:
		return Backup{}, fmt.Errorf("%w: it is another database. A database that was copied as a file becomes one by `lanyard authority backup`, where it is the only file of a data folder", ErrNoBackup)
	case format > backupFormat:
		return Backup{}, fmt.Errorf("%w: its format has version %d, this program knows up to %d; use the newer program", ErrNoBackup, format, backupFormat)
	}
	var taken int64
	if err := db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = $1", backupTakenAt).Scan(&taken); err != nil {
		return Backup{}, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	return Backup{TakenAt: fromMilliseconds(taken)}, nil
}

// OpenBackup opens a copy of a backup as a database, after it was found intact and its
// schema was brought up to date. It is no backup any more.
func OpenBackup(ctx context.Context, path string) (*Store, error) {
	if err := unmarkBackup(ctx, path); err != nil {
		return nil, fmt.Errorf("open copy of the backup: %w", explain(err))
	}
	s, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if _, err := s.VerifyEvents(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func unmarkBackup(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if err := checkIntegrity(ctx, db, "integrity_check"); err != nil {
		return err
	}
	for _, statement := range []string{
		"DELETE FROM settings WHERE name = '" + backupTakenAt + "'", "PRAGMA user_version = 0", "PRAGMA application_id = 0",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// refuseBackup refuses to start from a backup that was put in the database's place.
func refuseBackup(ctx context.Context, db *sql.DB) error {
	var mark int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&mark); err != nil {
		return err
	}
	if mark == backupMark {
		return errors.New("it is a backup: move it away, and put it to use with `lanyard authority restore`")
	}
	return nil
}
