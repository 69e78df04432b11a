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

// otherKeys returns the next and the former key, those of them that there are, and
// cleans up after an exchangeKey that was cut off.
func (f *folder) otherKeys(present *key) (next, former *key, err error) {
	if next, err = f.key(nextKeyFile); err != nil {
		return nil, nil, err
	}
	if former, err = f.key(formerKeyFile); err != nil {
		return nil, nil, err
	}
	if present.is(former) {
		former = nil // the file is replaced with the next exchange
	}
	if present.is(next) {
		if err := os.Remove(filepath.Join(f.path, nextKeyFile)); err != nil {
			return nil, nil, fmt.Errorf("remove private key: %w", err)
		}
		next = nil
	}
	return next, former, nil
}

// exchangeKey puts a key in the place of the present one, from one of the folder's
// other files, and the present one into the file where it is kept. Where the key is
// in its place already, as when only the flush to disk had failed, that is all.
func (f *folder) exchangeKey(k *key, from, kept string) error {
	present, err := f.key(keyFile)
	if err != nil {
		return err
	}
	if k.is(present) {
		return nil
	}
	return privatefile.ReplaceKeeping(filepath.Join(f.path, from), filepath.Join(f.path, keyFile), filepath.Join(f.path, kept))
}
