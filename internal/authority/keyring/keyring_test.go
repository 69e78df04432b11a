package keyring

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func openStore(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newBox(t *testing.T, fill byte) *Box {
	t.Helper()
	box, err := NewBox(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, boxKeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// fixture is a keyring over a real database, and what it records.
type fixture struct {
	t *testing.T
	*Keyring
	config  Config
	changes []Change
}

func open(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, config: Config{
		Store: openStore(t, filepath.Join(t.TempDir(), "db")), Box: newBox(t, 1),
		Algorithm: jose.ES256, Period: 30 * 24 * time.Hour, MaxTokenLife: 48 * time.Hour,
	}}
	for _, c := range change {
		c(&f.config)
	}
	f.reopen(now)
	return f
}

// reopen is a new process over the same database.
func (f *fixture) reopen(now time.Time) {
	f.t.Helper()
	ring, err := Open(f.t.Context(), f.config, now, f.record)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Keyring = ring
}

// record writes into the transaction, as the authority does, so that a test can see
// what a failed one leaves.
func (f *fixture) record(_ *store.Tx, c Change) error {
	f.changes = append(f.changes, c)
	return nil
}

func (f *fixture) maintain(now time.Time) {
	f.t.Helper()
	if err := f.Maintain(f.t.Context(), now, f.record); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) keys() []store.SigningKey {
	f.t.Helper()
	keys, err := f.config.Store.Read(f.t.Context()).SigningKeys(store.PurposeIDToken)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys
}

// states returns the states of all keys, oldest first.
func (f *fixture) states() string {
	var states []string
	for _, key := range f.keys() {
		states = append(states, key.State)
	}
	return strings.Join(states, " ")
}

func (f *fixture) inState(state string) store.SigningKey {
	f.t.Helper()
	for _, key := range f.keys() {
		if key.State == state {
			return key
		}
	}
	f.t.Fatalf("no key is %s: %s", state, f.states())
	return store.SigningKey{}
}

// published returns the ids in the JWKS.
func (f *fixture) published() map[string]bool {
	f.t.Helper()
	set, err := jwk.Parse(f.JWKS())
	if err != nil {
		f.t.Fatal(err)
	}
	ids := map[string]bool{}
	for i := range set.Len() {
		key, _ := set.Key(i)
		ids[key.KeyID()] = true
	}
	return ids
}

// signsBy returns the id of the key that signs, by the keys published to whom a
// token is verified.
func (f *fixture) signsBy() string {
	f.t.Helper()
	compact, err := f.Sign("JWT", map[string]string{"sub": "x"})
	if err != nil {
		f.t.Fatal(err)
	}
	set, err := jwk.Parse(f.JWKS())
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := jws.Verify([]byte(compact), jws.WithKeySet(set)); err != nil {
		f.t.Fatal(err)
	}
	message, err := jws.Parse([]byte(compact))
	if err != nil {
		f.t.Fatal(err)
	}
	return message.Signatures()[0].ProtectedHeaders().KeyID()
}

func TestOpenKeepsItsKeys(t *testing.T) {
	f := open(t)
	before, made := f.Keyring, len(f.changes)
	f.reopen(now.Add(time.Hour))
	if !bytes.Equal(before.JWKS(), f.JWKS()) || len(f.changes) != made {
		t.Errorf("the keys changed: %s, then %s", before.JWKS(), f.JWKS())
	}
	if strings.Contains(string(f.JWKS()), `"d"`) || len(f.published()) != 2 {
		t.Errorf("published: %s", f.JWKS())
	}
}

func TestKeysAreSealed(t *testing.T) {
	f := open(t)
	f.config.Box = newBox(t, 2)
	_, err := Open(t.Context(), f.config, now, f.record)
	if err == nil || !strings.Contains(err.Error(), "key-encryption key is not the one") {
		t.Errorf("another key-encryption key: %v", err)
	}
	if f.states() != "active next" && f.states() != "next active" {
		t.Errorf("the failed start left %s", f.states())
	}
}

func TestASealedKeyOpensOnlyInItsOwnRow(t *testing.T) {
	box := newBox(t, 1)
	var made [2]store.SigningKey
	for i := range made {
		var err error
		if made[i], err = newKey(jose.ES256, box); err != nil {
			t.Fatal(err)
		}
		made[i].State = store.KeyActive
	}
	key, other := made[0], made[1]
	if _, err := assemble([]store.SigningKey{key}, box); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*store.SigningKey){
		"another row's":        func(k *store.SigningKey) { k.Sealed = other.Sealed },
		"another row's both":   func(k *store.SigningKey) { k.Sealed, k.ID = other.Sealed, other.ID },
		"another's public key": func(k *store.SigningKey) { k.PublicJWK = other.PublicJWK },
		"another algorithm":    func(k *store.SigningKey) { k.Algorithm = "RS256" },
		"a byte changed":       func(k *store.SigningKey) { k.Sealed = k.Sealed[:len(k.Sealed)-3] + "AAA" },
		"nothing":              func(k *store.SigningKey) { k.Sealed = "" },
		"unknown prefix":       func(k *store.SigningKey) { k.Sealed = "x" + k.Sealed },
		"not active any more":  func(k *store.SigningKey) { k.State = store.KeyRetired },
	} {
		changed := key
		change(&changed)
		if _, err := assemble([]store.SigningKey{changed}, box); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestOpenOrMakeBox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key-encryption-key")
	if _, err := OpenOrMakeBox(path, false); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("missing: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was made all the same")
	}
	made, err := OpenOrMakeBox(path, true)
	if err != nil {
		t.Fatal(err)
	}
	read, err := OpenOrMakeBox(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := read.open(made.seal([]byte("x"), "p"), "p"); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOrMakeBox(path, true); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by all: %v", err)
	}
	for _, bad := range []string{"", "c2hvcnQ=", "no base64!", strings.Repeat("A", 100)} {
		if _, err := NewBox(bad); err == nil || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}
