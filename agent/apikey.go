package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// apiKeyFile is where the local API's key is kept, in the state folder.
const apiKeyFile = "local-api-key"

// maxAPIKeyFile bounds what is read of it.
const maxAPIKeyFile = 4 << 10

// apiKey guards the local API. Only its hash is held, so that it cannot be
// printed.
type apiKey struct{ digest [sha256.Size]byte }

func newAPIKey(key string) apiKey { return apiKey{sha256.Sum256([]byte(key))} }

// matches compares in constant time.
func (k apiKey) matches(given string) bool {
	digest := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(digest[:], k.digest[:]) == 1
}

// openAPIKey returns the configured key or, when there is none, the random one
// in the state folder, which the first start makes (mode 0600). The path is
// empty for a configured key.
func openAPIKey(configured, stateDir string) (key apiKey, path string, err error) {
	if configured != "" {
		return newAPIKey(configured), "", nil
	}
	path = filepath.Join(stateDir, apiKeyFile)
	content, err := readPrivate(path)
	if errors.Is(err, os.ErrNotExist) {
		content = []byte(rand.Text() + "\n")
		err = writePrivate(path, content)
	}
	if err != nil {
		return apiKey{}, "", fmt.Errorf("open local API key: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return apiKey{}, "", fmt.Errorf("open local API key: %s is empty; remove it to have a new one made", path)
	}
	return newAPIKey(text), path, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v, so others may know the key; remove it to have a new one made", path, mode)
	}
	return io.ReadAll(io.LimitReader(f, maxAPIKeyFile))
}

// writePrivate makes a file that appears whole or not at all, for its owner only.
func writePrivate(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone after the rename
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
