package operator

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/token"
)

// replaceKey is the protocol's exchange of a key.
func (a *authority) replaceKey(r *http.Request, body map[string]json.RawMessage, s *seen) (any, *problem) {
	w := a.authenticate(r, s)
	if w == nil {
		return nil, &problem{401, "client authentication failed"}
	}
	id, _ := s.claims["sub"].(string)
	key, err := jwk.ParseKey(body["jwk"])
	if err != nil || strings.Contains(string(body["jwk"]), `"d"`) {
		a.t.Errorf("jwk is not a public key: %v", err)
		return nil, &problem{400, "no key"}
	}
	claims, err := a.verify(text(body["proof"]), key, registrationType)
	if err != nil || claims["workload_id"] != id || claims["jkt"] != thumbprintOf(a.t, key) || claims["ticket_sha256"] != nil {
		a.t.Errorf("proof %v: %v", claims, err)
		return nil, &problem{400, "no proof"}
	}
	w.key = key
	return map[string]string{"workload_id": id}, nil
}

// aged returns an enrolled client whose key was made two hours ago.
func aged(t *testing.T, a *authority) (*Client, Config) {
	t.Helper()
	config := configure(t, a)
	c := newClient(t, config)
	fetch(t, c)
	age(t, config)
	return c, config
}

func renew(t *testing.T, c *Client, want bool) {
	t.Helper()
	if renewed, err := c.RenewKey(t.Context(), time.Hour); err != nil || renewed != want {
		t.Fatalf("renewed %v, %v; want %v", renewed, err, want)
	}
}

// restart closes the client and returns one for the same folder.
func restart(t *testing.T, c *Client, config Config) *Client {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return newClient(t, config)
}

func TestRenewKey(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	before := c.member.Load().signer.key.thumbprint
	renew(t, c, true)
	renew(t, c, false) // it is new now
	fetch(t, c)
	c = restart(t, c, config)
	fetch(t, c)
	if now := c.member.Load().signer.key.thumbprint; now == before {
		t.Error("the key is the former one")
	}
	assertPrivateFiles(t, config.StateDir, formerKeyFile)
	if n := a.count(registerPath); n != 1 {
		t.Errorf("%d registrations", n)
	}
}

// TestInterruptedRenewal: the authority took the key, or did not, and the client
// does not learn which; it, and a next run, find it out.
func TestInterruptedRenewal(t *testing.T) {
	for name, taken := range map[string]bool{"taken": true, "not taken": false} {
		for _, again := range []string{"goes on", "runs again", "renews again", "runs and renews again"} {
			t.Run(name+", "+again, func(t *testing.T) {
				a := startAuthority(t)
				c, config := aged(t, a)
				a.set(func() {
					if taken {
						a.after = func(path string) {
							if path == "/operator/v1/key" {
								a.after = nil
								panic(http.ErrAbortHandler)
							}
						}
						return
					}
					a.answer = func(w http.ResponseWriter, r *http.Request) bool {
						a.answer = nil
						w.WriteHeader(http.StatusServiceUnavailable)
						return true
					}
				})
				if _, err := c.RenewKey(t.Context(), time.Hour); !errors.Is(err, token.ErrUnreachable) {
					t.Fatalf("interrupted: %v", err)
				}
				if strings.HasPrefix(again, "runs") {
					c = restart(t, c, config)
				}
				if strings.HasSuffix(again, "renews again") {
					renew(t, c, true)
				}
				fetch(t, c)
				fetch(t, c)
				fetch(t, restart(t, c, config))
			})
		}
	}
}

// TestFolderIsAheadOfTheMemory, as it is when the flush to disk fails after the
// rename: the next call catches up, and takes nothing for the former key.
func TestFolderIsAheadOfTheMemory(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	before := keyOf(t, config, keyFile)
	a.set(func() {
		a.after = func(string) {
			a.after = nil
			panic(http.ErrAbortHandler)
		}
	})
	_, err := c.RenewKey(t.Context(), time.Hour)
	wantError(t, err, token.ErrUnreachable)
	in := func(file string) string { return filepath.Join(config.StateDir, file) }
	if err := privatefile.ReplaceKeeping(in(nextKeyFile), in(keyFile), in(formerKeyFile)); err != nil {
		t.Fatal(err)
	}
	fetch(t, c)
	asked := a.count(idTokenPath)
	fetch(t, c)
	if n := a.count(idTokenPath) - asked; n != 1 {
		t.Errorf("asked %d times for one token", n)
	}
	if former := keyOf(t, config, formerKeyFile); !former.is(before) {
		t.Error("the former key is lost")
	}
	assertUsable(t, c, config)
}

// TestCopiedFolder: of two hosts with one folder, the first that renews the key goes
// on; the other is told what may have happened.
func TestCopiedFolder(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	copied := config
	copied.StateDir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied.StateDir, os.DirFS(config.StateDir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keyFile, enrolmentFile} {
		if err := os.Chmod(filepath.Join(copied.StateDir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := newClient(t, copied)
	fetch(t, other)
	renew(t, c, true)
	_, err := other.Fetch(t.Context(), request)
	wantError(t, err, token.ErrNotEnrolled, "a copy of", copied.StateDir)
	fetch(t, c)
}

// An authority that does not answer holds up no Close, and with it no reload.
func TestCloseCutsARenewalOff(t *testing.T) {
	a := startAuthority(t)
	c, _ := aged(t, a)
	asked, release := make(chan struct{}), make(chan struct{})
	leave := a.squat(func(http.ResponseWriter, string) {
		close(asked)
		<-release
	})
	defer leave()
	defer close(release)
	renewed := make(chan error, 1)
	go func() {
		_, err := c.RenewKey(t.Context(), time.Hour)
		renewed <- err
	}()
	<-asked
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(DefaultTimeout / 2):
		t.Fatal("Close waits for the authority")
	}
	if err := <-renewed; !errors.Is(err, errClosed) {
		t.Errorf("the renewal ended with %v", err)
	}
}
