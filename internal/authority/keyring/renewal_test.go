package keyring

import (
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// TestRenew: security.md 18. What a key was before decides what becomes of it.
func TestRenew(t *testing.T) {
	for name, revoke := range map[string]bool{"retire": false, "revoke": true} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			revoked := f.inState(store.KeyActive)
			if err := f.Revoke(t.Context(), revoked.ID, now, f.record); err != nil {
				t.Fatal(err)
			}
			retired := f.inState(store.KeyActive)
			rotated := now.Add(PublishAhead)
			if err := f.Rotate(t.Context(), rotated, f.record); err != nil {
				t.Fatal(err)
			}
			active, next := f.inState(store.KeyActive), f.inState(store.KeyNext)
			at := rotated.Add(time.Hour)
			if err := Renew(t.Context(), f.config, at, revoke, f.record); err != nil {
				t.Fatal(err)
			}
			f.reopen(at)
			ended := map[string]time.Time{retired.ID: rotated, active.ID: at, next.ID: at}
			for _, key := range f.keys() {
				when, old := ended[key.ID]
				switch {
				case key.ID == revoked.ID:
					if key.State != store.KeyRevoked || !key.RevokedAt.Equal(now) {
						t.Errorf("revoked before: %+v", key)
					}
				case old && revoke:
					if key.State != store.KeyRevoked || !key.RevokedAt.Equal(at) || key.Sealed != "" || f.published()[key.ID] {
						t.Errorf("to be revoked: %+v", key)
					}
				case old:
					if key.State != store.KeyRetired || !key.RetiredAt.Equal(when) || key.Sealed != "" || !f.published()[key.ID] {
						t.Errorf("to be retired: %+v", key)
					}
				case key.State == store.KeyActive && f.signsBy() != key.ID:
					t.Errorf("%s signs, %s is active", f.signsBy(), key.ID)
				}
			}
			if n := len(f.keys()); n != 6 {
				t.Errorf("%d keys", n)
			}
		})
	}
}
