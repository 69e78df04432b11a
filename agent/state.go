package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// StateFiles lists the agent's own files in a state folder: the identities' keys and
// enrolments, and the key of the local API. Other files there are somebody else's.
func StateFiles(stateDir string) ([]string, error) {
	folders, err := identityFolders(stateDir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, folder := range folders {
		own, err := operator.StateFiles(folder)
		if err != nil {
			return nil, err
		}
		files = append(files, own...)
	}
	key := localapi.KeyPath(stateDir)
	if _, err := os.Lstat(key); err == nil {
		files = append(files, key)
	}
	return files, nil
}

// RemoveState removes what StateFiles lists, and folders in which nothing is left. It
// removes nothing of an identity that a process uses.
func RemoveState(ctx context.Context, stateDir string) error {
	folders, err := identityFolders(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, folder := range folders {
		errs = append(errs, operator.RemoveState(ctx, folder))
	}
	if err := errors.Join(errs...); err != nil { // whoever uses an identity needs the key, too
		return fmt.Errorf("remove state: %w", err)
	}
	if err := os.Remove(localapi.KeyPath(stateDir)); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, folder := range []string{filepath.Join(stateDir, identitiesDir), stateDir} {
		if err := os.Remove(folder); !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

// identityFolders lists the folders of identities in a state folder.
func identityFolders(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, identitiesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list identities: %w", err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() { // a link is none of ours
			folders = append(folders, identityDir(stateDir, e.Name()))
		}
	}
	return folders, nil
}
