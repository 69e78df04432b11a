package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// publisher answers as an issuer does that publishes keys, without a network.
type publisher struct {
	mu    sync.Mutex // guards what follows
	body  string
	fails error
	hangs bool
	takes time.Duration // from when it looks what is published
	asked int
}

// RoundTrip implements http.RoundTripper.
func (p *publisher) RoundTrip(request *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.hangs {
		p.mu.Unlock()
		<-request.Context().Done()
		p.mu.Lock()
		return nil, request.Context().Err()
	}
	if p.fails != nil {
		return nil, p.fails
	}
	body, takes := p.body, p.takes
	p.mu.Unlock()
	time.Sleep(takes)
	p.mu.Lock()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// set changes what is answered, and begins to count anew.
func (p *publisher) set(change func(*publisher)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
	p.asked = 0
}

func (p *publisher) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *publisher) publish(body string) {
	p.set(func(p *publisher) { p.body, p.fails, p.hangs = body, nil, false })
}
func (p *publisher) fail() { p.set(func(p *publisher) { p.fails = errors.New("connection refused") }) }
func (p *publisher) hang() { p.set(func(p *publisher) { p.hangs = true }) }

// published is the key set of keys with those ids.
func published(t *testing.T, ids ...string) string {
	t.Helper()
	set := jwk.NewSet()
	for _, id := range ids {
		public, err := newKey(t, id).PublicKey()
		if err == nil {
			err = set.AddKey(public)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kept runs a test in a bubble of time with keys of a publisher's that has fetched them
// or failed to.
func kept(t *testing.T, p *publisher, test func(t *testing.T, k *keys, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		k := newKeys(ctx, keysConfig{
			url: &url.URL{Scheme: "https", Host: "id.test", Path: "/keys", RawQuery: "secret=hunter2"}, client: &http.Client{Transport: p},
			random: func() float64 { return 0.5 }, log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		synctest.Wait()
		test(t, k, &log)
		stop()
		k.wait()
	})
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// has reports whether the issuer's key of that id counts, and how long the answer took.
func (k *keys) has(t *testing.T, id string) (found bool, took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	set, err := k.get(t.Context(), id)
	_, found = set.Key(id)
	return found, time.Since(began), err
}

// mustHave is has of a key that is at hand, and needs no fetch.
func (k *keys) mustHave(t *testing.T, id string) {
	t.Helper()
	if found, took, err := k.has(t, id); !found || took > 0 || err != nil {
		t.Errorf("key %s: found %v after %v, %v", id, found, took, err)
	}
}

func TestRevokedKeyIsForgotten(t *testing.T) {
	p := &publisher{body: published(t, "a", "b")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		k.mustHave(t, "a")
		p.publish(published(t, "b"))
		pass(refreshInterval - time.Second)
		k.mustHave(t, "a")
		pass(2 * time.Second)
		if found, _, err := k.has(t, "a"); found || err != nil {
			t.Errorf("after %v: found %v, %v", refreshInterval, found, err)
		}
	})
}

// Who is cut off from the issuer uses the keys for maxKeysAge, and no longer.
func TestKeysOfAnIssuerThatIsAway(t *testing.T) {
	p := &publisher{body: published(t, "a")}
	for name, away := range map[string]func(){"refuses": p.fail, "hangs": p.hang} {
		t.Run(name, func(t *testing.T) {
			p.publish(p.body)
			kept(t, p, func(t *testing.T, k *keys, log *bytes.Buffer) {
				away()
				pass(maxKeysAge - time.Second)
				k.mustHave(t, "a")
				pass(2 * time.Second)
				if found, took, err := k.has(t, "a"); found || took > fetchTimeout || !errors.Is(err, ErrKeys) {
					t.Errorf("after %v: found %v after %v, %v", maxKeysAge, found, took, err)
				}
				pass(maxBackOff + fetchTimeout)
				p.publish(p.body)
				pass(maxBackOff + fetchTimeout)
				k.mustHave(t, "a")
				lines := log.String()
				for _, line := range []string{"those at hand are used", "answered with 503", "fetched again"} {
					if strings.Count(lines, line) != 1 {
						t.Errorf("%q is not once in the log:\n%s", line, lines)
					}
				}
				if !strings.Contains(lines, "url=https://id.test/keys") || strings.Contains(lines, "hunter2") {
					t.Errorf("the log has not the URL alone:\n%s", lines)
				}
			})
		})
	}
}

// A first fetch that fails is repeated within seconds.
func TestIssuerThatStartsLater(t *testing.T) {
	p := &publisher{fails: errors.New("connection refused")}
	kept(t, p, func(t *testing.T, k *keys, log *bytes.Buffer) {
		if _, took, err := k.has(t, "a"); took > 0 || !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("after %v: %v", took, err)
		}
		p.publish(published(t, "a"))
		pass(firstBackOff)
		k.mustHave(t, "a")
		if lines := log.String(); strings.Count(lines, "503") != 1 || strings.Count(lines, "fetched again") != 1 {
			t.Errorf("the log says:\n%s", lines)
		}
	})
}

// However often tokens name unknown keys, an issuer that fails is asked by the backoff.
func TestBackOff(t *testing.T) {
	p := &publisher{body: published(t, "a")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		p.fail()
		pass(refreshInterval)
		for range int(time.Hour / time.Second) {
			if found, _, _ := k.has(t, "stranger"); found {
				t.Fatal("found")
			}
			pass(time.Second)
		}
		if n, most := p.fetches(), 6+int(time.Hour/maxBackOff); n > most || n < most/2 {
			t.Errorf("%d fetches in an hour, want about %d", n, most)
		}
	})
	for failures, want := range map[int]time.Duration{1: firstBackOff, 2: 2 * firstBackOff, 4: 8 * firstBackOff, 6: maxBackOff, 1 << 40: maxBackOff} {
		low, high := backOff(failures, 0), backOff(failures, 1)
		if middle := backOff(failures, 0.5); middle != want || low != want*3/4 || high != want*5/4 {
			t.Errorf("after %d failures: %v, between %v and %v", failures, middle, low, high)
		}
	}
}

// A key that is not known is looked for at once, once a minute, beside the fetches that
// are due: strangers' tokens make no more of them, not even for a while.
func TestStrangersTokensCauseFewFetches(t *testing.T) {
	p := &publisher{body: published(t, "a")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		p.publish(published(t, "a", "b"))
		k.mustHave(t, "b")
		p.publish(published(t, "a", "b"))
		for range 3600 {
			for i := range 10 {
				if found, _, err := k.has(t, fmt.Sprint("stranger-", i)); found || err != nil {
					t.Fatalf("found %v, %v", found, err)
				}
			}
			pass(time.Second)
		}
		if n := p.fetches(); n < 55 || n > 60+int(time.Hour/refreshInterval) {
			t.Errorf("%d fetches in an hour", n)
		}
		p.publish(published(t, "a"))
		pass(time.Hour)
		if n := p.fetches(); n > int(time.Hour/refreshInterval) {
			t.Errorf("%d fetches in the hour after", n)
		}
	})
}

// While the issuer hangs, tokens with known keys wait for nothing; others wait for one
// fetch, all for the same, and not more than maxWaiting of them. None is refused by keys
// that may be old.
func TestIssuerThatHangs(t *testing.T) {
	p := &publisher{body: published(t, "a")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		p.hang()
		var wg sync.WaitGroup
		var mu sync.Mutex
		waited := 0
		for range 3 * maxWaiting {
			wg.Go(func() {
				found, took, err := k.has(t, "stranger")
				mu.Lock()
				defer mu.Unlock()
				if took > 0 {
					waited++
				}
				if found || !errors.Is(err, ErrKeys) || took > fetchTimeout {
					t.Errorf("found %v after %v, %v", found, took, err)
				}
			})
		}
		synctest.Wait()
		k.mustHave(t, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Wait()
		if _, err := k.get(ctx, "a"); err != nil {
			t.Error(err)
		}
		if waited != maxWaiting || p.fetches() != 1 {
			t.Errorf("%d waited for %d fetches", waited, p.fetches())
		}
	})
}

// While fetches fail, nothing is said of a token whose key is not at hand, which the
// issuer may publish by now.
func TestUnknownKeyWhileFetchesFail(t *testing.T) {
	p := &publisher{body: published(t, "a")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		p.fail()
		pass(refreshInterval)
		if found, took, err := k.has(t, "b"); found || took > 0 || !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("found %v after %v, %v", found, took, err)
		}
		k.mustHave(t, "a")
		p.publish(p.body)
		pass(maxBackOff)
		if found, _, err := k.has(t, "b"); found || err != nil {
			t.Errorf("fetched again: found %v, %v", found, err)
		}
	})
}

// A token whose key is published while a fetch runs that has begun before waits for one
// more, if it is time for one; the next such token does not.
func TestKeyPublishedDuringAFetch(t *testing.T) {
	const takes = 2 * time.Second
	p := &publisher{body: published(t, "a")}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		p.set(func(p *publisher) { p.takes = takes })
		pass(refreshInterval + takes/2)
		if p.fetches() != 1 {
			t.Fatalf("%d fetches run", p.fetches())
		}
		p.publish(published(t, "a", "b"))
		if found, took, err := k.has(t, "b"); !found || took != takes/2+takes || err != nil {
			t.Errorf("found %v after %v, %v", found, took, err)
		}
		if found, took, err := k.has(t, "c"); found || took > 0 || err != nil || p.fetches() != 1 {
			t.Errorf("found %v after %v, %v; %d fetches", found, took, err, p.fetches())
		}
	})
}

// Who has less patience than a fetch takes is told that nothing is known.
func TestCallerThatDoesNotWait(t *testing.T) {
	p := &publisher{hangs: true}
	kept(t, p, func(t *testing.T, k *keys, _ *bytes.Buffer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.get(ctx, "a"); !errors.Is(err, ErrKeys) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// What is published and cannot be used is logged, each time that it changes.
func TestKeysThatAreNotUsedAreLogged(t *testing.T) {
	without := strings.ReplaceAll(published(t, "a", "b"), `"alg":"ES256",`, "")
	p := &publisher{body: without}
	kept(t, p, func(t *testing.T, k *keys, log *bytes.Buffer) {
		pass(3 * refreshInterval)
		if lines := log.String(); strings.Count(lines, "no alg") != 2 || strings.Count(lines, "are not used") != 1 || strings.Count(lines, "no key that can be used") != 1 {
			t.Errorf("the log says:\n%s", lines)
		}
		log.Reset()
		p.publish(published(t, "a"))
		pass(3 * refreshInterval)
		if log.Len() > 0 {
			t.Errorf("the log says:\n%s", log)
		}
	})
}

func TestClosed(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier(t, nil)
	v.Close()
	v.Close()
	if _, err := v.keys.get(t.Context(), "stranger"); err != nil && !errors.Is(err, ErrKeys) {
		t.Error(err)
	}
}
