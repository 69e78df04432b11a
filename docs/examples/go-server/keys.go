package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Of docs/verifying.md's table.
const (
	refreshInterval    = 5 * time.Minute // how long a revoked key is accepted
	retryInterval      = 5 * time.Second // after a failure
	maxKeysAge         = time.Hour       // how long keys count that cannot be fetched anew
	unknownKeyInterval = time.Minute     // between fetches because of a kid that is not known
	fetchTimeout       = 5 * time.Second
	maxKeysBytes       = 1 << 20
)

// issuerKeys are an issuer's keys. One goroutine fetches them; a token with a known key
// never waits for it.
type issuerKeys struct {
	url    string
	client *http.Client
	latest atomic.Pointer[fetchedKeys] // nil before the first
	failed atomic.Bool                 // so did the latest fetch
	wanted chan chan struct{}          // each is closed when the keys have been looked at anew
}

type fetchedKeys struct {
	set jwk.Set
	at  time.Time
}

func newIssuerKeys(url string) *issuerKeys {
	return &issuerKeys{
		url: url, wanted: make(chan chan struct{}),
		client: &http.Client{
			Timeout: fetchTimeout,
			// Keys are those of the place that was configured, and of no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// forToken returns keys that count, with the token's, if the issuer publishes it.
func (k *issuerKeys) forToken(ctx context.Context, token string) (set jwk.Set, usable bool) {
	if keys := k.latest.Load(); keys == nil || !knows(keys.set, token) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		looked := make(chan struct{})
		select {
		case k.wanted <- looked:
			select {
			case <-looked:
			case <-ctx.Done():
			}
		case <-ctx.Done(): // a fetch takes too long
		}
	}
	keys := k.latest.Load()
	if keys == nil || time.Since(keys.at) > maxKeysAge {
		return nil, false
	}
	// The issuer may publish by now what we do not have.
	return keys.set, !k.failed.Load() || knows(keys.set, token)
}

func knows(set jwk.Set, token string) bool {
	message, err := jws.ParseString(token)
	if err != nil || len(message.Signatures()) != 1 {
		return true // no key will make it a token
	}
	_, known := set.LookupKeyID(message.Signatures()[0].ProtectedHeaders().KeyID())
	return known
}

// keepFresh fetches keys, at once, in intervals, and for tokens with unknown keys, until
// ctx ends.
func (k *issuerKeys) keepFresh(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	var allowed time.Time // when a fetch for a token may be next
	for {
		var looked chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case looked = <-k.wanted:
			if k.failed.Load() || time.Now().Before(allowed) {
				close(looked)
				continue
			}
			allowed = time.Now().Add(unknownKeyInterval)
		}
		err := k.fetch(ctx)
		failed := k.failed.Swap(err != nil)
		if looked != nil {
			close(looked)
		}
		switch {
		case err != nil && !failed:
			slog.Warn("the issuer's keys cannot be fetched", "url", k.url, "error", err)
		case err == nil && failed:
			slog.Info("the issuer's keys are fetched again", "url", k.url)
		}
		if err != nil {
			next.Reset(retryInterval)
		} else {
			next.Reset(refreshInterval)
		}
	}
}

func (k *issuerKeys) fetch(ctx context.Context) error {
	at := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	if err != nil {
		return err
	}
	if len(text) > maxKeysBytes {
		return errors.New("the set is too large")
	}
	set, err := keysToUse(text)
	if err != nil {
		return err
	}
	k.latest.Store(&fetchedKeys{set, at})
	return nil
}
