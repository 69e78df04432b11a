package operator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// keeper answers for secrets and invites as the protocol has it, and counts.
type keeper struct {
	mu      sync.Mutex
	reads   int
	status  int // of a refusal, or 0
	content string
	expires any
	id      string // of the secret that is answered; "": of the one that was asked for
	request string // method and path of the latest call, its body
}

// serve makes the authority answer these paths; everything else it answers itself.
func (k *keeper) serve(a *authority) {
	a.answer = func(w http.ResponseWriter, r *http.Request) bool {
		invite := r.URL.Path == "/operator/v1/invite"
		if !invite && !strings.HasPrefix(r.URL.Path, "/operator/v1/secret/") {
			return false
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.reads++
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		k.request = fmt.Sprint(r.Method, " ", r.URL.EscapedPath(), " ", body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey"):
			w.WriteHeader(http.StatusUnauthorized)
		case k.status != 0:
			w.WriteHeader(k.status)
			fmt.Fprintf(w, `{"code":%d,"message":"says the authority"}`, k.status)
		case invite:
			fmt.Fprint(w, `{"ticket_id":"lyt_minted"}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{
				"id": cmp.Or(k.id, strings.TrimPrefix(r.URL.Path, "/operator/v1/secret/")), "content": k.content, "created_at": "2026-11-01T10:00:00Z", "expires_at": k.expires, "description": "the ledger's",
			})
		}
		return true
	}
}

func (k *keeper) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// secretClient returns an enrolled client with a clock of its own, and its keeper.
func secretClient(t *testing.T) (*Client, *keeper, *authority, func(time.Duration)) {
	t.Helper()
	a := startAuthority(t)
	config := configure(t, a)
	var mu sync.Mutex
	ahead := time.Duration(0)
	config.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(ahead)
	}
	k := &keeper{content: "hunter2"}
	a.set(func() { k.serve(a) })
	return newClient(t, config), k, a, func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		ahead += d
		a.set(func() { a.offset = ahead })
	}
}

func TestSecretIsKeptInMemory(t *testing.T) {
	c, k, a, wait := secretClient(t)
	step := func(name, content string, refresh bool, reads int) {
		t.Helper()
		s, err := c.Secret(t.Context(), "sec1:x", refresh)
		if err != nil || s.Reveal() != content || k.reads != reads {
			t.Fatalf("%s: %v, %v after %d reads; want %q after %d", name, s.Reveal(), err, k.reads, content, reads)
		}
		if s.ID != "sec1:x" || s.Description != "the ledger's" || s.CreatedAt.Year() != 2026 {
			t.Errorf("%s: %v, %q, %v", name, s, s.Description, s.CreatedAt)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(text, "hunter2") {
			t.Errorf("prints %s", text)
		}
	}
	step("first", "hunter2", false, 1)
	k.set(func() { k.content = "changed" })
	step("from memory", "hunter2", false, 1)
	step("refreshed", "changed", true, 2)
	wait(secretFresh + time.Second)
	step("no longer fresh", "changed", false, 3)
	a.stop()
	wait(secretFresh + time.Second)
	step("authority away", "changed", false, 3)
	if _, err := c.Secret(t.Context(), "sec1:x", true); !errors.Is(err, token.ErrUnreachable) {
		t.Errorf("refresh without the authority: %v", err)
	}
	wait(secretKept)
	if _, err := c.Secret(t.Context(), "sec1:x", false); !errors.Is(err, token.ErrUnreachable) {
		t.Errorf("kept for ever: %v", err)
	}
}

// TestRefusedSecretLeavesMemory: the authority's no ends what was kept.
func TestRefusedSecretLeavesMemory(t *testing.T) {
	for status, want := range map[int]func(error) bool{
		403: func(err error) bool {
			var r *token.RefusedError
			return errors.As(err, &r) && r.Message == "says the authority"
		},
		404: func(err error) bool { return errors.Is(err, ErrNotFound) },
		400: func(err error) bool {
			var i *InvalidError
			return errors.As(err, &i) && i.Message == "says the authority"
		},
		401: func(err error) bool { return errors.Is(err, token.ErrNotEnrolled) },
	} {
		c, k, a, _ := secretClient(t)
		if _, err := c.Secret(t.Context(), "sec1:x", false); err != nil {
			t.Fatal(err)
		}
		k.set(func() { k.status = status })
		if _, err := c.Secret(t.Context(), "sec1:x", true); !want(err) {
			t.Errorf("%d: %v", status, err)
		}
		a.stop()
		if s, err := c.Secret(t.Context(), "sec1:x", false); err == nil {
			t.Errorf("%d: still %v", status, s)
		}
	}
}

func TestSecretExpiresInMemory(t *testing.T) {
	c, k, _, wait := secretClient(t)
	k.set(func() { k.expires = time.Now().Add(time.Minute) })
	if _, err := c.Secret(t.Context(), "sec1:x", false); err != nil {
		t.Fatal(err)
	}
	wait(2 * time.Minute)
	k.set(func() { k.status = 404 })
	if s, err := c.Secret(t.Context(), "sec1:x", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("expired, but %v, %v", s, err)
	}
}

// TestIDsOfSecrets: an id never leads to another path of the authority.
func TestIDsOfSecrets(t *testing.T) {
	c, k, _, _ := secretClient(t)
	for _, id := range []string{"", ".", "..", "two words", "line\n", strings.Repeat("x", 129)} {
		if _, err := c.Secret(t.Context(), id, false); !errors.Is(err, ErrNotFound) || k.reads != 0 {
			t.Errorf("%q: %v after %d reads", id, err, k.reads)
		}
	}
	if _, err := c.Secret(t.Context(), "../id_token?x#y", false); err != nil || k.request != "GET /operator/v1/secret/..%2Fid_token%3Fx%23y map[]" {
		t.Errorf("%s, %v", k.request, err)
	}
}

// TestAnotherSecretIsRefused: an answer that was mixed up gives no secret.
func TestAnotherSecretIsRefused(t *testing.T) {
	c, k, _, _ := secretClient(t)
	k.set(func() { k.id = "sec1:y" })
	if s, err := c.Secret(t.Context(), "sec1:x", false); !errors.Is(err, token.ErrUnreachable) {
		t.Errorf("%v, %v", s, err)
	}
}

// TestSecretsAreReadOnceAtATime: who asks meanwhile gets the outcome.
func TestSecretsAreReadOnceAtATime(t *testing.T) {
	c, k, _, _ := secretClient(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := c.Secret(t.Context(), "sec1:x", false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if k.reads != 1 {
		t.Errorf("%d reads, want 1", k.reads)
	}
}

func TestSecretsAreBounded(t *testing.T) {
	c, _, _, _ := secretClient(t)
	for i := range maxSecrets + 10 {
		c.secrets.entry(fmt.Sprint(i))
	}
	if n := len(c.secrets.entries); n > maxSecrets {
		t.Errorf("%d entries, want %d at most", n, maxSecrets)
	}
}

func TestInvite(t *testing.T) {
	c, k, _, _ := secretClient(t)
	ticket, err := c.Invite(t.Context(), "tf1:x")
	if err != nil || ticket != "lyt_minted" || k.request != "POST /operator/v1/invite map[ticket_factory_id:tf1:x]" {
		t.Errorf("%q, %v by %s", ticket, err, k.request)
	}
	k.set(func() { k.status = 403 })
	var refused *token.RefusedError
	if _, err := c.Invite(t.Context(), "tf1:x"); !errors.As(err, &refused) {
		t.Errorf("no orchestrator: %v", err)
	}
}
