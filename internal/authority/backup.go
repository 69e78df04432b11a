package authority

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// Backup is a backup that was made.
type Backup struct {
	TakenAt   time.Time // what was committed before is in it
	Bytes     int64
	LastEvent int64 // sequence number of the newest event in it
	// KeyEncryptionKey says where the key is that the backup lacks and cannot be
	// restored without.
	KeyEncryptionKey string
}

// WriteBackup writes the database of the data folder into one file of mode 0600, while
// an authority runs on it or while none does. The file is there whole or not at all;
// one that exists already is fs.ErrExist, unless overwrite says so. Of config it needs
// what says where things are kept.
func WriteBackup(ctx context.Context, config Config, file string, overwrite bool) (Backup, error) {
	config, err := config.withStorageDefaults()
	if err != nil {
		return Backup{}, err
	}
	database, err := databaseToBackUp(config.DataDir)
	if err != nil {
		return Backup{}, err
	}
	there, err := exists(file)
	if err != nil {
		return Backup{}, fmt.Errorf("back up: %w", err)
	}
	if there && !overwrite {
		return Backup{}, fmt.Errorf("back up: %s: %w; name another file, or say --overwrite", file, fs.ErrExist)
	}
	var written store.Backup
	made := Backup{KeyEncryptionKey: config.whereTheKeyIs()}
	write := privatefile.CreateBy
	if overwrite {
		write = privatefile.ReplaceBy
	}
	err = write(file, func(f *os.File) (err error) {
		if written, err = store.WriteBackup(ctx, database, f.Name(), config.Now()); err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			made.Bytes = info.Size()
		}
		return err
	})
	made.TakenAt, made.LastEvent = written.TakenAt, written.Events.Sequence
	return made, err
}

// databaseToBackUp returns the path of the folder's database.
func databaseToBackUp(dir string) (string, error) {
	cutOff, err := unfinishedRestore(dir)
	switch {
	case err != nil:
		return "", err
	case cutOff != "":
		return "", fmt.Errorf("back up: the restore in %s was cut off; start the authority, which finishes it", cutOff)
	}
	path := filepath.Join(dir, databaseFile)
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("back up: %w; name the authority's data folder with LANYARD_DATA_DIR", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("back up: %s is no regular file: it could lead to another database", path)
	}
	if err := checkOwner(dir); err != nil {
		return "", fmt.Errorf("back up: %w", err)
	}
	return path, nil
}

// whereTheKeyIs says what has to be kept besides a backup.
func (c Config) whereTheKeyIs() string {
	byDefault := filepath.Join(c.DataDir, boxKeyFile)
	switch {
	case c.KeyEncryptionKey != "":
		return "the value of LANYARD_KEY_ENCRYPTION_KEY"
	case c.KeyEncryptionKeyFile != "":
		return "the file " + c.KeyEncryptionKeyFile
	}
	if there, err := exists(byDefault); err == nil && there {
		return "the file " + byDefault
	}
	return "what the authority is started with as LANYARD_KEY_ENCRYPTION_KEY or LANYARD_KEY_ENCRYPTION_KEY_FILE"
}

// whereTheKeyBelongs says where the key-encryption key is looked for.
func (c Config) whereTheKeyBelongs() string {
	switch {
	case c.KeyEncryptionKey != "":
		return "LANYARD_KEY_ENCRYPTION_KEY"
	case c.KeyEncryptionKeyFile != "":
		return "the file " + c.KeyEncryptionKeyFile + " (LANYARD_KEY_ENCRYPTION_KEY_FILE)"
	}
	return "the file " + filepath.Join(c.DataDir, boxKeyFile) + " (or set LANYARD_KEY_ENCRYPTION_KEY_FILE)"
}
