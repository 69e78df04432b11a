package authority

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lanyardhq/lanyard/internal/folderlock"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// openDataFolder makes the folder if need be, and locks it: two authorities over one
// database would each believe to have the only writer.
func openDataFolder(ctx context.Context, dir string) (*folderlock.Lock, error) {
	err := trustedpath.MakeFolder(dir)
	var untrusted *trustedpath.UntrustedError
	switch {
	case errors.As(err, &untrusted):
		return nil, fmt.Errorf("make data folder: %w, or name another folder with LANYARD_DATA_DIR", err)
	case err != nil:
		return nil, fmt.Errorf("make data folder: %w; %s", err, whereToWrite())
	}
	lock, err := folderlock.Take(ctx, filepath.Join(dir, lockFile))
	var held *folderlock.HeldError
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("lock data folder %s: %w; stop that authority first, or name another folder with LANYARD_DATA_DIR", dir, err)
	case err != nil:
		return nil, fmt.Errorf("lock data folder %s: %w; %s", dir, err, whereToWrite())
	}
	return lock, nil
}

// whereToWrite is the way out of a folder that cannot be written.
func whereToWrite() string {
	return fmt.Sprintf("it must be writable for user id %d; or name another one with LANYARD_DATA_DIR", os.Geteuid())
}
