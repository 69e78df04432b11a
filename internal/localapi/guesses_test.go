package localapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// knock has a party try a key once.
func knock(a *API, party workload.Party, key string) (status int) {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/peer/v1/id_token", nil)
	r.URL.Scheme, r.URL.Host = "", "" // in origin form
	r.Header.Set("Authorization", "Bearer "+key)
	answered := httptest.NewRecorder()
	a.Handler().ServeHTTP(answered, r.WithContext(context.WithValue(r.Context(), callerKey{}, &caller{party: party})))
	return answered.Code
}

func keyedAPI(log io.Writer, count func(Result)) *API {
	return New(Config{
		Log: slog.New(slog.NewTextHandler(log, nil)), Key: NewKey(testKey).Always(), Tokens: fakeTokens{}, Workload: fakeWorkloads,
		Identity: func() string { return "keyed" }, Count: count,
	})
}

// TestGuessesArePaced: a party that guesses from many connections at once gets a few
// guesses and then as many as its connections allow within the longest delay; who has
// the right key and is another party waits a moment at most.
func TestGuessesArePaced(t *testing.T) {
	const connections, window = 30, 20 * time.Second
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var wrong atomic.Uint64
		a := keyedAPI(&log, func(r Result) {
			if r == ResultWrongKey {
				wrong.Add(1)
			}
		})
		guesser := workload.UserParty(1000)
		end := time.Now().Add(window)
		var tasks sync.WaitGroup
		for range connections {
			tasks.Go(func() {
				for time.Now().Before(end) {
					if status := knock(a, guesser, "guess"); status != http.StatusUnauthorized {
						t.Errorf("a guess: %d", status)
					}
				}
			})
		}
		time.Sleep(time.Second)
		for who, longest := range map[workload.Party]time.Duration{
			workload.UserParty(1001): crowdLongest, {}: crowdLongest, guesser: guessLongest,
		} {
			start := time.Now()
			if status := knock(a, who, testKey); status != http.StatusOK {
				t.Errorf("the right key of %v: %d", who, status)
			}
			if took := time.Since(start); took > longest {
				t.Errorf("the right key of %v took %v, want %v at most", who, took, longest)
			}
		}
		tasks.Wait()
		if most := uint64(2*connections + guessBurst + window/guessPace); wrong.Load() > most || wrong.Load() < 50 {
			t.Errorf("%d guesses in %v, want %d at most", wrong.Load(), window, most)
		}
		if lines := strings.Count(log.String(), "wrong key"); lines == 0 || lines > 3 || !strings.Contains(log.String(), "user 1000") {
			t.Errorf("%d lines in the log:\n%s", lines, log.String())
		}
	})
}

// TestManyGuessers: a new party for each guess makes everybody wait, but no more than
// a moment, and what is remembered of them is bounded.
func TestManyGuessers(t *testing.T) {
	g, now := newGuesses(), time.Now()
	for uid := range uint32(20_000) {
		g.wrong(workload.UserParty(uid+1), now)
	}
	if len(g.parties) > guessMemories+1 {
		t.Errorf("%d parties are remembered", len(g.parties))
	}
	if d := g.delay(workload.UserParty(90_000), now); d != crowdLongest && d != guessLongest {
		t.Errorf("a newcomer waits %v", d)
	}
	now = now.Add(time.Minute)
	g.wrong(workload.UserParty(50_000), now)
	if d := g.delay(workload.UserParty(30_000), now); d > 0 || len(g.parties) > 2 {
		t.Errorf("a minute later %d parties are remembered, and a newcomer waits %v", len(g.parties), d)
	}
}

// TestUsersOfOnePlaceGuessTogether: who takes on many users makes those wait, and no
// other place more than a moment.
func TestUsersOfOnePlaceGuessTogether(t *testing.T) {
	g, now := newGuesses(), time.Now()
	for uid := range uint32(20_000) {
		g.wrong(workload.ProcessParty(7, uid, 1), now)
	}
	if d := g.delay(workload.ProcessParty(7, 90_000, 1), now); d != guessLongest {
		t.Errorf("another user of the place waits %v", d)
	}
	if d := g.delay(workload.ProcessParty(8, 90_000, 1), now); d != crowdLongest {
		t.Errorf("a user of another place waits %v", d)
	}
	if d := g.delay(workload.Party{}, now); d != crowdLongest {
		t.Errorf("somebody unknown waits %v", d)
	}
	if len(g.parties) > guessMemories/2+1 {
		t.Errorf("%d parties are remembered of one place", len(g.parties))
	}
}
