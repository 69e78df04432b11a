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

func TestLoadKeepsItsKeys(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db"))
	box := newBox(t, 1)
	first, err := Load(t.Context(), s, box, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load(t.Context(), s, box, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.JWKS(), second.JWKS()) {
		t.Errorf("the keys changed: %s, then %s", first.JWKS(), second.JWKS())
	}
	compact, err := first.Sign("JWT", map[string]string{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwk.Parse(second.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify([]byte(compact), jws.WithKeySet(set)); err != nil {
		t.Error(err)
	}
}

func TestLoadPublishesAllButRevoked(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db"))
	box := newBox(t, 1)
	want := map[string]bool{}
	for i, state := range []string{store.KeyRetired, store.KeyActive, store.KeyNext, store.KeyRevoked} {
		key, err := newKey(box, now.Add(time.Duration(i)*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		key.State = state
		want[key.ID] = state != store.KeyRevoked
		if err := s.Write(t.Context(), func(tx *store.Tx) error { return tx.InsertSigningKey(key) }); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := Load(t.Context(), s, box, now)
	if err != nil {
		t.Fatal(err)
	}
	for id, published := range want {
		if strings.Contains(string(ring.JWKS()), id) != published {
			t.Errorf("key %s published: %v", id, !published)
		}
	}
	if strings.Contains(string(ring.JWKS()), `"d"`) {
		t.Error("a private key is published")
	}
}

func TestKeysAreSealed(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db"))
	if _, err := Load(t.Context(), s, newBox(t, 1), now); err != nil {
		t.Fatal(err)
	}
	_, err := Load(t.Context(), s, newBox(t, 2), now)
	if err == nil || !strings.Contains(err.Error(), "key-encryption key is not the one") {
		t.Errorf("another key-encryption key: %v", err)
	}
}

func TestASealedKeyOpensOnlyInItsOwnRow(t *testing.T) {
	box := newBox(t, 1)
	key, err := newKey(box, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := assemble([]store.SigningKey{key}, box); err != nil {
		t.Fatal(err)
	}
	other, err := newKey(box, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*store.SigningKey){
		"another row's":       func(k *store.SigningKey) { k.Sealed = other.Sealed },
		"another row's both":  func(k *store.SigningKey) { k.Sealed, k.ID = other.Sealed, other.ID },
		"another algorithm":   func(k *store.SigningKey) { k.Algorithm = "RS256" },
		"a byte changed":      func(k *store.SigningKey) { k.Sealed = k.Sealed[:len(k.Sealed)-3] + "AAA" },
		"nothing":             func(k *store.SigningKey) { k.Sealed = "" },
		"unknown prefix":      func(k *store.SigningKey) { k.Sealed = "x" + k.Sealed },
		"not active any more": func(k *store.SigningKey) { k.State = store.KeyRetired },
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
