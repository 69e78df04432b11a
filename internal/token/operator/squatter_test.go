package operator

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/internal/token"
)

// squat answers in the authority's place until the function returned is called.
func (a *authority) squat(answer func(w http.ResponseWriter, path string)) (leave func()) {
	a.set(func() {
		a.answer = func(w http.ResponseWriter, r *http.Request) bool {
			answer(w, strings.TrimPrefix(r.URL.Path, "/operator"))
			return true
		}
	})
	return func() { a.set(func() { a.answer = nil }) }
}

// keyOf reads a key file of a state folder.
func keyOf(t *testing.T, config Config, file string) *key {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(config.StateDir, file))
	if err != nil {
		t.Fatal(err)
	}
	k, err := decodeKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// age makes the folder's key two hours old.
func age(t *testing.T, config Config) {
	t.Helper()
	then := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(config.StateDir, keyFile), then, then); err != nil {
		t.Fatal(err)
	}
}

// assertUsable uses a client, and one of a next run, for all that a key is for.
func assertUsable(t *testing.T, c *Client, config Config) {
	t.Helper()
	fetch(t, c)
	fetch(t, c)
	c = restart(t, c, config)
	fetch(t, c)
	age(t, config)
	renew(t, c, true)
	fetch(t, c)
	fetch(t, restart(t, c, config))
}

// TestSomebodyElseTakesTheKey: a success that names nobody is none.
func TestSomebodyElseTakesTheKey(t *testing.T) {
	for _, body := range []string{`{}`, `{"status":"maintenance"}`, `{"workload_id":"pr1:000000000000000000000009"}`} {
		t.Run(body, func(t *testing.T) {
			a := startAuthority(t)
			c, config := aged(t, a)
			before := keyOf(t, config, keyFile)
			leave := a.squat(func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			_, err := c.RenewKey(t.Context(), time.Hour)
			wantError(t, err, token.ErrUnreachable, "does not name workload "+c.WorkloadID())
			leave()
			if now := keyOf(t, config, keyFile); !now.is(before) {
				t.Error("the key was replaced")
			}
			assertUsable(t, c, config)
		})
	}
}

// TestSomebodyElseSpeaksTheProtocol, which tells everybody the workload's id: the key
// that the authority never saw is given up for the one before.
func TestSomebodyElseSpeaksTheProtocol(t *testing.T) {
	for name, fetched := range map[string]bool{"answers the renewal": false, "gives a token, too": true} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
				a := startAuthority(t)
				c, config := aged(t, a)
				before := keyOf(t, config, keyFile)
				leave := a.squat(func(w http.ResponseWriter, path string) {
					if path == newKeyPath {
						fmt.Fprintf(w, `{"workload_id":%q}`, c.WorkloadID())
						return
					}
					fmt.Fprintf(w, `{"jwt_id_token":%q}`, compact(es256, with(nil)))
				})
				renew(t, c, true)
				if fetched {
					fetch(t, c)
				}
				leave()
				if restarted {
					c = restart(t, c, config)
				}
				fetch(t, c)
				if now := keyOf(t, config, keyFile); !now.is(before) {
					t.Error("the key is not the one that the authority has")
				}
				assertUsable(t, c, config)
			})
		}
	}
}

// TestSomebodyElseTakesTheFormerKey only: the present one is not lost for that.
func TestSomebodyElseTakesTheFormerKey(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	renew(t, c, true)
	fetch(t, c)
	asked := 0
	leave := a.squat(func(w http.ResponseWriter, _ string) {
		if asked++; asked == 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"jwt_id_token":%q}`, compact(es256, with(nil)))
	})
	fetch(t, c)
	leave()
	assertUsable(t, c, config)
}

// TestUnprovedKeyIsNotReplaced: a third key would push out the one that the authority
// has.
func TestUnprovedKeyIsNotReplaced(t *testing.T) {
	a := startAuthority(t)
	c, config := aged(t, a)
	leave := a.squat(func(w http.ResponseWriter, _ string) { fmt.Fprintf(w, `{"workload_id":%q}`, c.WorkloadID()) })
	renew(t, c, true)
	age(t, config)
	renew(t, c, false)
	leave()
	renew(t, c, false)
	assertUsable(t, c, config)
}

// TestRefusalAdoptsNoKey: only a success says that the key is the right one.
func TestRefusalAdoptsNoKey(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			a := startAuthority(t)
			c, config := aged(t, a)
			leave := a.squat(func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusBadGateway) })
			_, err := c.RenewKey(t.Context(), time.Hour)
			wantError(t, err, token.ErrUnreachable)
			leave()
			asked := 0
			leave = a.squat(func(w http.ResponseWriter, _ string) {
				if asked++; asked == 1 {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				w.WriteHeader(status)
			})
			if _, err := c.Fetch(t.Context(), request); err == nil || asked != 2 {
				t.Errorf("asked %d times: %v", asked, err)
			}
			leave()
			assertPrivateFiles(t, config.StateDir, nextKeyFile)
			assertUsable(t, c, config)
		})
	}
}

// TestExchangeCutOff between any two changes of the folder, while the authority has
// one key or the other.
func TestExchangeCutOff(t *testing.T) {
	states := map[string]map[string]int{ // the number of the key in each file
		"next key made":           {keyFile: 0, nextKeyFile: 1},
		"present key linked":      {keyFile: 0, nextKeyFile: 1, formerKeyFile: 0},
		"next key in place":       {keyFile: 1, formerKeyFile: 0},
		"false key linked":        {keyFile: 1, formerKeyFile: 0, nextKeyFile: 1},
		"former key back":         {keyFile: 0, nextKeyFile: 1},
		"former key of no use":    {keyFile: 1, nextKeyFile: 2, formerKeyFile: 0},
		"that removed":            {keyFile: 1, nextKeyFile: 2},
		"next key of that linked": {keyFile: 1, nextKeyFile: 2, formerKeyFile: 1},
	}
	for name, files := range states {
		for _, number := range []int{files[keyFile], files[otherFile(files)]} {
			t.Run(fmt.Sprintf("%s, authority has key %d", name, number), func(t *testing.T) {
				a := startAuthority(t)
				c, config := aged(t, a)
				keys := []*key{keyOf(t, config, keyFile), newKey(t), newKey(t)}
				id := c.WorkloadID()
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				remove(t, config.StateDir, keyFile)
				for file, number := range files {
					text, err := keys[number].encode()
					if err != nil {
						t.Fatal(err)
					}
					writeFile(t, filepath.Join(config.StateDir, file), text)
				}
				public, err := jwk.ParseKey(keys[number].public)
				if err != nil {
					t.Fatal(err)
				}
				a.set(func() { a.workloads[id].key = public })
				assertUsable(t, newClient(t, config), config)
			})
		}
	}
}

// otherFile names the file of the key that the authority may have instead.
func otherFile(files map[string]int) string {
	if next, ok := files[nextKeyFile]; ok && next != files[keyFile] {
		return nextKeyFile
	}
	return formerKeyFile
}

func newKey(t *testing.T) *key {
	t.Helper()
	k, err := makeKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
