package store

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestSigningKeyLife(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	key := SigningKey{ID: "k1", Purpose: PurposeIDToken, Algorithm: "ES256", State: KeyNext, PublicJWK: "{}", Sealed: "s", CreatedAt: start}
	other := key
	other.ID = "k2"
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertSigningKey(key) })
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.InsertSigningKey(other) }); !errors.Is(err, ErrDuplicate) {
		t.Errorf("a second next key: %v", err)
	}
	key.Version = 1
	for _, to := range []struct {
		state  string
		change func()
	}{
		{KeyActive, func() { key.ActivatedAt = start.Add(time.Hour) }},
		{KeyRetired, func() { key.RetiredAt, key.Sealed = start.Add(2*time.Hour), "" }},
		{KeyRevoked, func() { key.RevokedAt = start.Add(3 * time.Hour) }},
	} {
		key.State = to.state
		to.change()
		mustWrite(t, s, func(tx *Tx) error { return tx.UpdateSigningKey(key) })
		key.Version++
		if got, err := s.Read(t.Context()).SigningKey("k1"); err != nil || !reflect.DeepEqual(got, key) {
			t.Errorf("%+v, %v; want %+v", got, err, key)
		}
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.InsertSigningKey(other) })
	for after, want := range map[string][]string{"": {"k1", "k2"}, "k1": {"k2"}, "k2": nil} {
		var got []string
		page, err := s.Read(t.Context()).SigningKeyPage(after, 10)
		for _, k := range page {
			got = append(got, k.ID)
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after %q: %v, %v", after, got, err)
		}
	}
	mustWrite(t, s, func(tx *Tx) error { return tx.DeleteSigningKey("k1") })
	if _, err := s.Read(t.Context()).SigningKey("k1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted key: %v", err)
	}
}
