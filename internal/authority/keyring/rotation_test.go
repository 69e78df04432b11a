package keyring

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// TestADatabaseWithoutANextKey: as a version left it that knew one key only.
func TestADatabaseWithoutANextKey(t *testing.T) {
	f := open(t)
	signs, next := f.signsBy(), f.inState(store.KeyNext).ID
	if err := f.config.Store.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteSigningKey(next) }); err != nil {
		t.Fatal(err)
	}
	f.reopen(now.Add(time.Hour))
	if f.signsBy() != signs || f.published()[next] || len(f.published()) != 2 {
		t.Errorf("%s signs, published are %v", f.signsBy(), f.published())
	}
}

// TestRotationBySchedule follows the keys over a period's end and what comes after.
func TestRotationBySchedule(t *testing.T) {
	f := open(t)
	first, second := f.inState(store.KeyActive), f.inState(store.KeyNext)
	if f.signsBy() != first.ID {
		t.Error("the active key does not sign")
	}
	end := now.Add(f.config.Period)
	f.maintain(end.Add(-time.Millisecond))
	if f.signsBy() != first.ID {
		t.Error("rotated before the period's end")
	}
	f.changes = nil
	f.maintain(end)
	third := f.inState(store.KeyNext)
	want := []Change{
		{ActionRetire, first.ID, "the period is over"},
		{ActionActivate, second.ID, "the period is over"},
		{ActionCreate, third.ID, "to be the next key"},
	}
	// A change that needed a key which was not at hand was begun twice.
	if got := f.changes[len(f.changes)-3:]; !reflect.DeepEqual(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
	if f.signsBy() != second.ID || !reflect.DeepEqual(f.published(), map[string]bool{first.ID: true, second.ID: true, third.ID: true}) {
		t.Errorf("%s signs, published are %v", f.signsBy(), f.published())
	}
	retired := f.inState(store.KeyRetired)
	if retired.Sealed != "" || !retired.RetiredAt.Equal(end) || !f.inState(store.KeyActive).ActivatedAt.Equal(end) {
		t.Errorf("the retired key is %+v", retired)
	}
	gone := end.Add(f.config.MaxTokenLife + leeway)
	f.maintain(gone)
	if !f.published()[first.ID] {
		t.Error("a key is gone while what it signed can be valid")
	}
	f.maintain(gone.Add(time.Millisecond))
	if f.published()[first.ID] || len(f.keys()) != 2 {
		t.Errorf("the retired key stays: %s", f.states())
	}
	if last := f.changes[len(f.changes)-1]; last.Action != ActionRemove || last.KeyID != first.ID {
		t.Errorf("recorded %v", last)
	}
}

// TestANextKeyIsPublishedBeforeItSigns: security.md 18.
func TestANextKeyIsPublishedBeforeItSigns(t *testing.T) {
	if PublishAhead <= JWKSMaxAge {
		t.Fatal("a next key may sign while a verifier holds an older JWKS")
	}
	f := open(t)
	ahead := now.Add(PublishAhead)
	before, next := f.signsBy(), f.inState(store.KeyNext)
	err := f.Rotate(t.Context(), ahead.Add(-time.Millisecond), f.record)
	var tooEarly *TooEarlyError
	if !errors.As(err, &tooEarly) || !tooEarly.From.Equal(ahead) || tooEarly.KeyID != next.ID || f.signsBy() != before {
		t.Errorf("too early: %v", err)
	}
	if err := f.Rotate(t.Context(), ahead, f.record); err != nil || f.signsBy() != next.ID {
		t.Errorf("in time: %v", err)
	}
	// By schedule too: after an outage of a whole period the overdue rotation waits for
	// a next key that was made only now.
	later := ahead.Add(f.config.Period)
	if err := f.Revoke(t.Context(), f.inState(store.KeyNext).ID, later.Add(-time.Minute), f.record); err != nil {
		t.Fatal(err)
	}
	f.maintain(later)
	if f.signsBy() != next.ID {
		t.Error("by schedule a next key signs that nobody knows")
	}
	f.maintain(later.Add(-time.Minute).Add(PublishAhead))
	if f.signsBy() == next.ID {
		t.Error("the rotation is never made up for")
	}
}

func TestAnOverdueRotationByCommand(t *testing.T) {
	f := open(t)
	next := f.inState(store.KeyNext).ID
	if err := f.Rotate(t.Context(), now.Add(f.config.Period), f.record); err != nil || f.signsBy() != next {
		t.Errorf("%v; %s signs", err, f.signsBy())
	}
}

func TestRevoke(t *testing.T) {
	for state, want := range map[string]struct {
		signs string
		keys  int // that are published
	}{
		store.KeyActive:  {store.KeyNext, 3},
		store.KeyNext:    {store.KeyActive, 3},
		store.KeyRetired: {store.KeyActive, 2},
	} {
		t.Run(state, func(t *testing.T) {
			f := open(t)
			if err := f.Rotate(t.Context(), now.Add(PublishAhead), f.record); err != nil {
				t.Fatal(err)
			}
			revoked, signs := f.inState(state), f.inState(want.signs)
			at := now.Add(PublishAhead + time.Second) // the next key is a second old
			for range 2 {                             // the second time it changes nothing
				if err := f.Revoke(t.Context(), revoked.ID, at, f.record); err != nil {
					t.Fatal(err)
				}
			}
			if f.published()[revoked.ID] || f.signsBy() != signs.ID || len(f.published()) != want.keys {
				t.Errorf("%s signs, published are %v", f.signsBy(), f.published())
			}
			stored := f.inState(store.KeyRevoked)
			if stored.ID != revoked.ID || stored.Sealed != "" || !stored.RevokedAt.Equal(at) {
				t.Errorf("stored: %+v", stored)
			}
			before := f.published()
			f.reopen(at)
			if !reflect.DeepEqual(f.published(), before) {
				t.Errorf("after a restart published are %v", f.published())
			}
			f.maintain(at.Add(revokedKept + time.Minute))
			if slices.ContainsFunc(f.keys(), func(k store.SigningKey) bool { return k.ID == revoked.ID }) {
				t.Error("revoked keys are kept for ever")
			}
		})
	}
	f := open(t)
	if err := f.Revoke(t.Context(), "no such key", now, f.record); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown key: %v", err)
	}
}

// TestRevokingGoesOnWithoutAFitNextKey: what is wrong with the next key must not keep
// a stolen one in use.
func TestRevokingGoesOnWithoutAFitNextKey(t *testing.T) {
	f := open(t)
	active, next := f.inState(store.KeyActive), f.inState(store.KeyNext)
	next.Sealed = "damaged"
	if err := f.config.Store.Write(t.Context(), func(tx *store.Tx) error { return tx.UpdateSigningKey(next) }); err != nil {
		t.Fatal(err)
	}
	if err := f.Revoke(t.Context(), active.ID, now, f.record); err != nil {
		t.Fatal(err)
	}
	if signs := f.signsBy(); signs == active.ID || signs == next.ID || len(f.published()) != 2 {
		t.Errorf("%s signs, published are %v", signs, f.published())
	}
}

// TestAChangeHappensWhole: where its event cannot be written, nothing changes in the
// store nor in force.
func TestAChangeHappensWhole(t *testing.T) {
	f := open(t)
	states, jwks, signs := f.states(), string(f.JWKS()), f.signsBy()
	at := now.Add(f.config.Period)
	for failing := 1; ; failing++ {
		writes := 0
		failed := false
		fail := func(*store.Tx, Change) error {
			if writes++; writes == failing {
				failed = true
				return errors.New("disk full")
			}
			return nil
		}
		for name, change := range map[string]func() error{
			"rotate": func() error { return f.Rotate(t.Context(), at, fail) },
			"revoke": func() error { return f.Revoke(t.Context(), signs, at, fail) },
			"upkeep": func() error { return f.Maintain(t.Context(), at, fail) },
		} {
			if writes = 0; failing > 3 {
				break
			}
			if err := change(); err == nil || f.states() != states || string(f.JWKS()) != jwks || f.signsBy() != signs {
				t.Errorf("%s, failing at event %d: %v; %s, %s signs", name, failing, err, f.states(), f.signsBy())
			}
		}
		if !failed {
			break
		}
	}
}

func TestAnotherAlgorithm(t *testing.T) {
	f := open(t)
	at := now
	for _, algorithm := range []string{jose.RS256, jose.EdDSA, jose.ES256} {
		unused := f.inState(store.KeyNext).ID
		f.config.Algorithm = algorithm
		f.reopen(at)
		if f.published()[unused] {
			t.Errorf("%s: the unused key of another algorithm stays", algorithm)
		}
		if got := f.inState(store.KeyNext).Algorithm; got != algorithm {
			t.Errorf("the next key is for %s, want %s", got, algorithm)
		}
		at = at.Add(PublishAhead)
		if err := f.Rotate(t.Context(), at, f.record); err != nil {
			t.Fatal(err)
		}
		if id := f.signsBy(); id != f.inState(store.KeyActive).ID || f.inState(store.KeyActive).Algorithm != algorithm {
			t.Errorf("%s: %s signs", algorithm, id)
		}
	}
	if got := f.Algorithms(); len(got) != 3 {
		t.Errorf("published at once: %v", got)
	}
}

// TestSigningDuringRotation: every token verifies by what was published when it was
// signed, or right after.
func TestSigningDuringRotation(t *testing.T) {
	f := open(t)
	var signers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		signers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := f.Sign("JWT", map[string]string{}); err != nil {
					t.Error(err)
					return
				}
				_ = f.JWKS()
			}
		})
	}
	at := now
	for range 5 {
		at = at.Add(PublishAhead)
		if err := f.Rotate(t.Context(), at, f.record); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	signers.Wait()
}

// TestWhatAnotherProcessDid: its upkeep puts a keyring's change in force in another one.
func TestWhatAnotherProcessDid(t *testing.T) {
	f := open(t)
	other, err := Open(t.Context(), f.config, now, f.record)
	if err != nil {
		t.Fatal(err)
	}
	revoked := f.signsBy()
	if err := other.Revoke(t.Context(), revoked, now, f.record); err != nil {
		t.Fatal(err)
	}
	f.maintain(now)
	if f.signsBy() == revoked || f.published()[revoked] {
		t.Error("what was revoked elsewhere stays in use")
	}
}

func TestConcurrentRevocationsAllHold(t *testing.T) {
	f := open(t)
	var revokers sync.WaitGroup
	silent := func(*store.Tx, Change) error { return nil }
	for _, key := range f.keys() {
		revokers.Go(func() {
			if err := f.Revoke(t.Context(), key.ID, now, silent); err != nil {
				t.Error(err)
			}
		})
	}
	revokers.Wait()
	for _, key := range f.keys() {
		if published := f.published()[key.ID]; published != (key.State != store.KeyRevoked) {
			t.Errorf("key %s is %s, published: %v", key.ID, key.State, published)
		}
	}
	if f.signsBy() != f.inState(store.KeyActive).ID {
		t.Error("another key signs than the store says")
	}
}
