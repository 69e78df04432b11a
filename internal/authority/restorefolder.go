package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// A restore prepares everything in one folder of the data folder, and then renames
// that. From this moment on it is decided: whoever opens the data folder next finishes
// it. Before, it has changed nothing.
const (
	restoringFolder = "restoring" // what a restore that was cut off leaves is of no use
	restoredPrefix  = "restored-" // and the time: to take the database's place
	replacedPrefix  = "replaced-" // and the same time: what was in its place

	// restoreTime is how the time stands in these names.
	restoreTime = "20060102T150405.000Z"
)

// unfinishedRestore returns the folder of a restore that was decided and then cut off,
// or "".
func unfinishedRestore(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a restore that was cut off: %w", err)
	}
	for _, entry := range entries {
		// The folder may hold what is not ours.
		when, found := strings.CutPrefix(entry.Name(), restoredPrefix)
		if _, err := time.Parse(restoreTime, when); found && err == nil {
			return filepath.Join(dir, entry.Name()), nil
		}
	}
	return "", nil
}

// decideRestore makes the restore that was prepared the one to be finished.
func decideRestore(dir string, at time.Time) error {
	decided := filepath.Join(dir, restoredPrefix+at.UTC().Format(restoreTime))
	if err := privatefile.Replace(filepath.Join(dir, restoringFolder), decided); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// finishRestore puts in place what a decided restore prepared, and sets aside what was
// there. Cut off anywhere, it goes on when it is called again. The data folder must be
// locked. It returns the folder of what was set aside, "" if there was nothing.
func finishRestore(config Config) (replaced string, err error) {
	decided, err := unfinishedRestore(config.DataDir)
	if err == nil && decided == "" {
		// A whole database, of a restore that was cut off before it was decided.
		err = os.RemoveAll(filepath.Join(config.DataDir, restoringFolder))
	}
	if err != nil || decided == "" {
		return "", err
	}
	when := strings.TrimPrefix(filepath.Base(decided), restoredPrefix)
	replaced = filepath.Join(config.DataDir, replacedPrefix+when)
	err = placeDatabase(config.DataDir, decided, replaced)
	if err == nil {
		err = placeAdminToken(filepath.Join(decided, adminTokenFile), config.AdminTokenFile, "."+replacedPrefix+when)
	}
	if err == nil {
		err = os.RemoveAll(decided)
	}
	if err != nil {
		return "", fmt.Errorf("finish restore in %s: %w", decided, err)
	}
	if there, err := exists(replaced); err != nil || !there {
		return "", err
	}
	return replaced, nil
}

// placeDatabase moves the database, after what was there has gone whole: the log of
// one database must not be taken for that of another.
func placeDatabase(dir, decided, replaced string) error {
	if there, err := exists(filepath.Join(decided, databaseFile)); err != nil || !there {
		return err // or it has its place already
	}
	for _, name := range []string{databaseFile, databaseFile + "-wal", databaseFile + "-shm"} {
		there, err := exists(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := os.MkdirAll(replaced, 0o700); err != nil {
			return err
		}
		if err := privatefile.Replace(filepath.Join(dir, name), filepath.Join(replaced, name)); err != nil {
			return err
		}
	}
	return privatefile.Replace(filepath.Join(decided, databaseFile), filepath.Join(dir, databaseFile))
}

// placeAdminToken writes the token's file anew: it may be on another file system.
func placeAdminToken(from, to, aside string) error {
	secret, err := privatefile.Read(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has its place already, or none was made
	}
	if err != nil {
		return err
	}
	if there, err := privatefile.Read(to); err == nil && there == secret {
		return os.Remove(from)
	}
	there, err := exists(to)
	if err == nil && there {
		err = privatefile.Replace(to, to+aside)
	}
	if err != nil {
		return err
	}
	if err := privatefile.Create(to, secret); err != nil {
		return err
	}
	return os.Remove(from)
}

// exists tells what is not there from what cannot be looked at: of that nothing may
// be concluded.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
