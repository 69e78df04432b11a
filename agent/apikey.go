package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// apiKeyFile is where the local API's key is kept, in the state folder.
const apiKeyFile = "local-api-key"

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
	text, err := privatefile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = rand.Text()
		err = privatefile.Create(path, text)
	}
	if err != nil {
		return apiKey{}, "", fmt.Errorf("open local API key: %w; if others may know it, remove it to have a new one made", err)
	}
	return newAPIKey(text), path, nil
}
