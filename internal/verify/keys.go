package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
)

// When keys are fetched, and how long they count. docs/verifying.md has them in a table.
const (
	// refreshInterval is how old keys get before they are fetched anew: how long a key
	// that the issuer has revoked goes on to be accepted while the issuer answers.
	refreshInterval = 5 * time.Minute
	// maxKeysAge is how old keys get before they no longer count, where they cannot be
	// fetched anew: whoever cuts us off from the issuer keeps a revoked key alive for
	// no longer.
	maxKeysAge = time.Hour
	// unknownKeyInterval is how often at most keys are fetched because a token names one
	// that we do not have. Anybody can write such a token.
	unknownKeyInterval = time.Minute
	// fetchTimeout bounds a fetch, and so how long a token waits for one. It waits for two
	// at most, where the first had begun before it came.
	fetchTimeout = 5 * time.Second
	// maxWaiting bounds how many tokens wait for a fetch, so that an issuer that hangs takes
	// no callers' connections. Of further ones that need it, nothing is said.
	maxWaiting = 64
)

// ErrKeys marks that the issuer's keys cannot be had: nothing is said about the
// token.
var ErrKeys = errors.New("the issuer's keys cannot be fetched")

// errClosed is why nothing is fetched any more.
var errClosed = errors.New("the verifier is closed")

// errTooMany is why a token is not judged whose key is being looked for.
var errTooMany = fmt.Errorf("%w: too many wait for them", ErrKeys)

// keySet is what was fetched, and when. It is immutable.
type keySet struct {
	jose.KeySet
	fetched time.Time // when the fetch began
}

// keys keeps an issuer's keys: one goroutine fetches them, at once, then every
// refreshInterval, sooner because of an unknown key, and after a failure by a backoff.
// Who asks for a key that we have never waits for it. Ages are of time that has passed,
// by the monotonic clock, whatever the date is; Go's stands still while the machine is
// suspended, and so do ages. It is safe for concurrent use.
type keys struct {
	fetcher fetcher
	random  func() float64 // uniform in [0, 1)
	report  reporter

	latest  atomic.Pointer[keySet] // of the last fetch that succeeded; nil before
	asked   chan struct{}          // holds one value at most: fetch now
	waiting chan struct{}          // holds one value for each who waits
	ended   sync.WaitGroup

	mu          sync.Mutex    // guards what follows
	flight      chan struct{} // of the fetch that runs or was asked for, closed when it ends; nil between fetches
	failures    int           // in a row
	err         error         // why the last fetch failed; nil if it did not
	unknownNext time.Time     // when a fetch because of an unknown key may be next
}

// keysConfig is where keys are, and by what they are kept; all of it is required.
type keysConfig struct {
	url    *url.URL
	client *http.Client
	random func() float64 // uniform in [0, 1)
	log    *slog.Logger
}

// newKeys keeps keys until ctx ends.
func newKeys(ctx context.Context, config keysConfig) *keys {
	k := &keys{
		fetcher: newFetcher(config.url.String(), config.client), random: config.random,
		report: newReporter(config.log, config.url),
		asked:  make(chan struct{}, 1), waiting: make(chan struct{}, maxWaiting),
		flight: make(chan struct{}), // whoever asks first waits for the first
	}
	k.ended.Go(func() { k.run(ctx) })
	return k
}

// wait returns when the goroutine has ended, once the context of newKeys has.
func (k *keys) wait() { k.ended.Wait() }

// run fetches until ctx ends.
func (k *keys) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			k.land(errClosed)
			return
		case <-timer.C:
		case <-k.asked:
		}
		k.depart()
		timer.Reset(k.attempt(ctx))
	}
}

// depart makes a fetch the one that runs, whether it was asked for or not.
func (k *keys) depart() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight == nil {
		k.flight = make(chan struct{})
	}
	select {
	case <-k.asked: // asked for while the timer fired: this is it
	default:
	}
}

// attempt fetches once and returns how long to leave the issuer alone.
func (k *keys) attempt(ctx context.Context) (pause time.Duration) {
	began := time.Now()
	set, err := k.fetcher.fetch(ctx)
	if err == nil {
		k.latest.Store(&keySet{set, began})
	}
	failures := k.land(err)
	if ctx.Err() != nil {
		return 0 // which run sees
	}
	if err == nil {
		k.report.fetched(set)
		return around(refreshInterval, refreshJitter, k.random())
	}
	pause = backOff(failures, k.random())
	_, usable := k.usable()
	k.report.failed(err, usable)
	return pause
}

// land ends the fetch, and tells whoever waits for it how it went.
func (k *keys) land(err error) (failures int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err = err; err == nil {
		k.failures = 0
	} else {
		k.failures++
	}
	if k.flight != nil {
		close(k.flight)
		k.flight = nil
	}
	return k.failures
}

// get returns keys that count, and that have the one that is named, if the issuer
// publishes it. Where that cannot be known now, the error wraps ErrKeys.
func (k *keys) get(ctx context.Context, keyID string) (jose.KeySet, error) {
	set, found := k.find(keyID)
	// Twice: the fetch that runs may have begun before the key was published.
	for try := 0; try < 2 && !found; try++ {
		flight := k.ask(set != nil)
		if flight == nil {
			break
		}
		if err := k.await(ctx, flight); err != nil {
			return jose.KeySet{}, err
		}
		set, found = k.find(keyID)
	}
	if found {
		return set.KeySet, nil
	}
	switch err := k.failure(); {
	case err != nil:
		return jose.KeySet{}, fmt.Errorf("%w: %w", ErrKeys, err)
	case set == nil:
		return jose.KeySet{}, ErrKeys
	}
	return set.KeySet, nil
}

// find returns the latest keys, nil if they do not count, and whether they have the one
// that is named.
func (k *keys) find(keyID string) (set *keySet, found bool) {
	set, usable := k.usable()
	if !usable {
		return nil, false
	}
	_, found = set.Key(keyID)
	return set, found
}

// failure says why the latest fetch failed, if it did: what we do not have, the issuer
// may publish.
func (k *keys) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// usable returns the latest keys, and whether they count.
func (k *keys) usable() (*keySet, bool) {
	set := k.latest.Load()
	return set, set != nil && time.Since(set.fetched) < maxKeysAge
}

// ask returns the fetch that runs, or has one run. It returns nil where the issuer is
// to be left alone: after a failure, until the goroutine tries again, and, where only
// one key is missing, after another fetch because of one.
func (k *keys) ask(onlyOneMissing bool) (flight <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight
	}
	if k.failures > 0 {
		return nil
	}
	if onlyOneMissing {
		now := time.Now()
		if now.Before(k.unknownNext) {
			return nil
		}
		k.unknownNext = now.Add(unknownKeyInterval)
	}
	k.flight = make(chan struct{})
	k.asked <- struct{}{} // there is room: a value is in it only while there is a flight
	return k.flight
}

// await waits for a fetch, if not too many wait already.
func (k *keys) await(ctx context.Context, flight <-chan struct{}) error {
	select {
	case k.waiting <- struct{}{}:
		defer func() { <-k.waiting }()
	default:
		return errTooMany
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for them: %w", ErrKeys, context.Cause(ctx))
	}
}
