package localapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// keyFile is where the local API's key is kept, in the state folder.
const keyFile = "local-api-key"

// Key guards the local API. Only its hash is held, so that it cannot be
// printed.
type Key struct{ digest [sha256.Size]byte }

// NewKey returns the key that is this text.
func NewKey(key string) Key { return Key{sha256.Sum256([]byte(key))} }

// Matches compares in constant time.
func (k Key) Matches(given string) bool {
	digest := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(digest[:], k.digest[:]) == 1
}

// Always returns a Config's Key that is this one whenever it is asked for.
func (k Key) Always() func() (Key, error) {
	return func() (Key, error) { return k, nil }
}

// OpenKey returns the configured key or, when there is none, the random one
// in the state folder, which the first start makes (mode 0600). The path is
// empty for a configured key.
func OpenKey(configured, stateDir string) (key Key, path string, err error) {
	if configured != "" {
		return NewKey(configured), "", nil
	}
	path = KeyPath(stateDir)
	text, err := privatefile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = rand.Text()
		if err := privatefile.Create(path, text); err != nil {
			return Key{}, "", fmt.Errorf("make local API key: %w", err)
		}
		return NewKey(text), path, nil
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("open local API key: %w%s", err, wayOut(err))
	}
	return NewKey(text), path, nil
}

// wayOut says what becomes of a key file that cannot be used, where that is the file's
// own fault.
func wayOut(err error) string {
	var untrusted *trustedpath.UntrustedError
	var failed *fs.PathError
	switch {
	case errors.As(err, &untrusted):
		return "; if others may know it, remove it to have a new one made"
	case errors.As(err, &failed):
		return ""
	}
	return "; remove it to have a new one made"
}

// KeyPath is where the key that OpenKey makes is kept.
func KeyPath(stateDir string) string { return filepath.Join(stateDir, keyFile) }
