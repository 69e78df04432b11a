package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// key returns the key pair of this file of the folder, or nil if there is none yet.
func (f *folder) key(name string) (*key, error) {
	path := filepath.Join(f.path, name)
	text, err := privatefile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read private key: %w; if others may have read it, remove the folder and enrol anew with a fresh ticket", err)
	}
	k, err := decodeKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read private key %s: %w; %s", path, err, startAnew)
	}
	return k, nil
}

// makeKey makes a key pair and writes it to this file of the folder.
func (f *folder) makeKey(name string) (*key, error) {
	k, err := makeKey()
	if err != nil {
		return nil, err
	}
	text, err := k.encode()
	if err != nil {
		return nil, err
	}
	if err := privatefile.Create(filepath.Join(f.path, name), text); err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	return k, nil
}

// keyMade returns when the folder's key was written.
func (f *folder) keyMade() (time.Time, error) {
	info, err := os.Stat(filepath.Join(f.path, keyFile))
	if err != nil {
		return time.Time{}, fmt.Errorf("read private key: %w", err)
	}
	return info.ModTime(), nil
}

// adoptNextKey puts the next key in the place of the key.
func (f *folder) adoptNextKey() error {
	return privatefile.Replace(filepath.Join(f.path, nextKeyFile), filepath.Join(f.path, keyFile))
}
