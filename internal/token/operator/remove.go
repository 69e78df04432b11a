package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/folderlock"
	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// stateFiles are all files of a state folder; the lock is removed last.
func stateFiles() []string {
	return []string{keyFile, nextKeyFile, formerKeyFile, enrolmentFile, lockFile}
}

// StateFiles returns the paths of those files in a state folder that are a client's.
func StateFiles(stateDir string) ([]string, error) {
	var found []string
	for _, name := range stateFiles() {
		path := filepath.Join(stateDir, name)
		_, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for enrolment: %w", err)
		}
		if err == nil {
			found = append(found, path)
		}
	}
	return found, nil
}

// RemoveState removes a client's files from its state folder, and the folder if nothing
// else is in it. It refuses while a client has the folder.
func RemoveState(ctx context.Context, stateDir string) error {
	files, err := StateFiles(stateDir)
	if err != nil || len(files) == 0 {
		return err
	}
	lock, err := folderlock.Take(ctx, filepath.Join(stateDir, lockFile))
	if err != nil {
		return fmt.Errorf("lock state folder %s: %w", stateDir, err)
	}
	errs := []error{privatefile.RemoveLeftovers(stateDir)}
	for _, name := range stateFiles() {
		if err := os.Remove(filepath.Join(stateDir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, lock.Release(), removeEmpty(stateDir))...)
}

// removeEmpty removes a folder unless something is in it.
func removeEmpty(folder string) error {
	err := os.Remove(folder)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
