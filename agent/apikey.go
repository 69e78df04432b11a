package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/localapi"
)

// partAPIKey is the part of health that is the local API's key.
const partAPIKey = "local_api_key"

// apiKey is the local API's key, or why there is none: then callers with a key get 503,
// all others go on, and the file is tried again. It is safe for concurrent use.
type apiKey struct {
	open   func() (key localapi.Key, path string, err error)
	health *health
	log    *slog.Logger
	state  atomic.Pointer[keyState]
}

type keyState struct {
	key localapi.Key
	err error
}

// newAPIKey opens the key of the settings, or says why not. Of a configured one only
// the digest is kept.
func newAPIKey(s *Settings, h *health, log *slog.Logger) *apiKey {
	k := &apiKey{health: h, log: log}
	if s.APIKey != "" {
		key := localapi.NewKey(s.APIKey)
		k.open = func() (localapi.Key, string, error) { return key, "", nil }
	} else {
		dir := s.StateDir
		k.open = func() (localapi.Key, string, error) { return localapi.OpenKey("", dir) }
	}
	k.try()
	return k
}

// try opens the key, and reports whether it could.
func (k *apiKey) try() bool {
	key, path, err := k.open()
	k.state.Store(&keyState{key, err})
	if err != nil {
		if k.health.degrade(partAPIKey, err.Error()) {
			k.log.Error("callers of the local API with a key are refused", "error", err, "tried_again_every", retryPause)
		}
		return false
	}
	switch mended := k.health.ok(partAPIKey); {
	case mended:
		k.log.Info("callers of the local API with a key are answered again", "file", path)
	case path != "":
		k.log.Info("key of the local API", "file", path)
	}
	return true
}

// get returns the key, or why there is none now.
func (k *apiKey) get() (localapi.Key, error) {
	s := k.state.Load()
	return s.key, s.err
}

// keep opens the key as soon as that can be done, until ctx ends.
func (k *apiKey) keep(ctx context.Context) {
	if k.state.Load().err == nil {
		return
	}
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if k.try() {
				return
			}
		}
	}
}
