package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// settingAssertionsAfter holds the time, in RFC 3339, that assertions and proofs must
// have been issued after: which ones were used until then is not known any more.
const settingAssertionsAfter = "assertions_after"

// RestoreOptions say how a backup is restored.
type RestoreOptions struct {
	// Replace sets a database aside that is there already; without it that is
	// fs.ErrExist.
	Replace bool
	// RevokeKeys takes the backup's signing keys out of the JWKS, at once. Without it
	// they stay there until what they have signed has expired.
	RevokeKeys bool
	// KeepAdminTokens leaves administrators' tokens as they were. Without it they are
	// removed, as those that were revoked since the backup would be back, and there is
	// a new one.
	KeepAdminTokens bool
}

// Restored says what a restore did.
type Restored struct {
	TakenAt       time.Time // of the backup
	At            time.Time
	TicketsClosed int64
	// FactoriesClosed is how many ticket factories mint no more.
	FactoriesClosed int64
	TokensRemoved   int64  // administrators'
	Replaced        string // folder of the database that was set aside, "" if there was none
	// AdminTokenFile is where the new administrator's token is, "" if there is none.
	AdminTokenFile string
}

// Restore makes the backup in file the database of the data folder, on which no
// authority may run. Cut off anywhere, it has either not begun or is finished by the
// next start. Of config it needs what says where and how things are kept; the
// key-encryption key must be the one of the authority that was backed up.
//
// What happened since the backup is not known afterwards. So the keys of the backup
// sign no more, assertions issued before now are refused, tickets enrol nobody new
// and ticket factories mint none until an administrator opens them again.
func Restore(ctx context.Context, config Config, file string, options RestoreOptions) (done Restored, err error) {
	config, err = config.withStorageDefaults()
	if err != nil {
		return Restored{}, err
	}
	if err := checkRegular(file); err != nil {
		return Restored{}, fmt.Errorf("read backup: %w", err)
	}
	backup, err := store.ReadBackup(ctx, file)
	if err != nil {
		return Restored{}, err
	}
	if now := config.Now(); now.Before(backup.TakenAt) {
		return Restored{}, fmt.Errorf("restore: this host's clock says %s, and the backup was made at %s: set the clock, by which assertions are accepted from now on",
			now.UTC().Format(time.RFC3339), backup.TakenAt.UTC().Format(time.RFC3339))
	}
	if err := checkOwner(config.DataDir); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if err := checkTokenFolder(config, options); err != nil {
		return Restored{}, err
	}
	lock, err := openDataFolder(ctx, config.DataDir)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if _, err := finishRestore(config); err != nil {
		return Restored{}, err
	}
	path := filepath.Join(config.DataDir, databaseFile)
	there, err := exists(path)
	if err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if there && !options.Replace {
		return Restored{}, fmt.Errorf("restore: %s: %w; say --replace to have it set aside, or name another folder with LANYARD_DATA_DIR", path, fs.ErrExist)
	}
	r := restore{config: config, options: options, folder: filepath.Join(config.DataDir, restoringFolder)}
	r.done = Restored{TakenAt: backup.TakenAt}
	if err := r.prepare(ctx, file); err != nil {
		return Restored{}, errors.Join(err, os.RemoveAll(r.folder))
	}
	if err := decideRestore(config.DataDir, r.done.At); err != nil {
		return Restored{}, err
	}
	r.done.Replaced, err = finishRestore(config)
	return r.done, err
}

// checkRegular refuses what can be no backup before a database is looked for in it.
func checkRegular(file string) error {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", file)
	}
	return err
}

// checkOwner refuses a folder of somebody else: the authority runs as who owns it, and
// could not read what others put there; who reads it for another can be led elsewhere.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user id %d: run this as that user, so that the authority can read what it makes", dir, owner.Uid)
	}
	return nil
}

// checkTokenFolder refuses what would be found out only once the restore is decided:
// that the new administrator's token cannot be written where it belongs.
func checkTokenFolder(config Config, options RestoreOptions) error {
	dir := filepath.Dir(config.AdminTokenFile)
	if options.KeepAdminTokens || dir == filepath.Clean(config.DataDir) {
		return nil // the data folder is checked by its lock
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		return fmt.Errorf("restore: the new administrator's token cannot be written: %w; name another file with LANYARD_ADMIN_TOKEN_FILE, or say --keep-admin-tokens", err)
	}
	return nil
}

// restore is a restore under way.
type restore struct {
	config  Config
	options RestoreOptions
	folder  string // where it is prepared
	done    Restored
}

// prepare makes in the folder what is to take its place.
func (r *restore) prepare(ctx context.Context, file string) (err error) {
	if err := os.RemoveAll(r.folder); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := os.Mkdir(r.folder, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	database := filepath.Join(r.folder, databaseFile)
	if err := copyFile(file, database); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s, err := store.OpenBackup(ctx, database)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := errors.Join(r.settle(ctx, s, file), s.Close()); err != nil {
		return err
	}
	unwritten, err := exists(database + "-wal")
	if err == nil && unwritten {
		err = fmt.Errorf("restore: %s was not written whole; is there room on the file system?", database)
	}
	return err
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	return privatefile.CreateBy(to, func(f *os.File) error {
		_, err := io.Copy(f, source)
		return err
	})
}

// settle does to the copy what a restore means.
func (r *restore) settle(ctx context.Context, s *store.Store, file string) error {
	box, err := r.openBox(ctx, s)
	if err != nil {
		return err
	}
	r.done.At = r.config.Now()
	keys := keyring.Config{
		Store: s, Box: box,
		Algorithm: r.config.SigningAlgorithm, Period: DefaultKeyRotation, MaxTokenLife: maxIDTokenTTL,
	}
	if err := keyring.Renew(ctx, keys, r.done.At, r.options.RevokeKeys, recordKeyChange(store.Event{At: r.done.At})); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	var token string
	if !r.options.KeepAdminTokens {
		if token, err = r.makeAdminToken(); err != nil {
			return err
		}
	}
	return s.Write(ctx, func(tx *store.Tx) error { return r.record(tx, file, token) })
}

// openBox opens the key-encryption key, if it is the one that the copy needs.
func (r *restore) openBox(ctx context.Context, s *store.Store) (*keyring.Box, error) {
	keys, err := s.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	box, err := r.config.openBox(false)
	if err == nil {
		err = keyring.CheckBox(box, keys)
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %w; the key of the authority that was backed up is needed, and is looked for in %s",
			err, r.config.whereTheKeyBelongs())
	}
	return box, nil
}

// makeAdminToken writes a new administrator's token beside the database.
func (r *restore) makeAdminToken() (string, error) {
	secret, err := randomSecret(r.config.Rand, secretAdmin)
	if err != nil {
		return "", err
	}
	r.done.AdminTokenFile = r.config.AdminTokenFile
	return secret, privatefile.Create(filepath.Join(r.folder, adminTokenFile), secret)
}

// record closes what must not be open any more, and says so in the activity.
func (r *restore) record(tx *store.Tx, file, token string) (err error) {
	from := "the backup of " + r.done.TakenAt.UTC().Format(time.RFC3339)
	if r.done.TicketsClosed, err = tx.CloseTickets("restored from "+from, r.done.At); err != nil {
		return err
	}
	if r.done.FactoriesClosed, err = tx.CloseTicketFactories("restored from "+from, r.done.At); err != nil {
		return err
	}
	if err := tx.SetSetting(settingAssertionsAfter, r.done.At.UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	if token != "" {
		if err := r.replaceAdminTokens(tx, from, token); err != nil {
			return err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("restore: find name of this host: %w", err)
	}
	return tx.AppendEvent(store.Event{
		At: r.done.At, Kind: kindRestore, Allowed: true,
		Reason: fmt.Sprintf("%s, file %q, by user id %d on host %q; tickets closed: %d, ticket factories closed: %d, administrators' tokens removed: %d",
			from, file, os.Geteuid(), host, r.done.TicketsClosed, r.done.FactoriesClosed, r.done.TokensRemoved),
	})
}

func (r *restore) replaceAdminTokens(tx *store.Tx, from, secret string) (err error) {
	if r.done.TokensRemoved, err = tx.DeleteAdminTokens(); err != nil {
		return err
	}
	id, err := randomID(r.config.Rand, prefixAdminToken)
	if err != nil {
		return err
	}
	return tx.InsertAdminToken(store.AdminToken{
		ID: id, Description: "made when restoring " + from, Role: resource.RoleAdmin, CreatedAt: r.done.At,
	}, jose.Digest([]byte(secret)))
}
