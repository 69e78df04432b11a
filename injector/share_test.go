package injector

import (
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// TestAShareIsGivenBackAfterItsPlace: the kernel lets another connection in as soon as one
// is given back, and the injector must have room for it then.
func TestAShareIsGivenBackAfterItsPlace(t *testing.T) {
	w := newWorld(t)
	w.heldAtRelease.Store(-1)
	client, upstream := w.pair()
	client.close()
	upstream.close()
	eventually(t, "the share is given back", func() bool { return w.claimed.Load() == 0 })
	if held := w.heldAtRelease.Load(); held != 0 {
		t.Errorf("the injector held %d connections when the only one was given back, want none", held)
	}
}

// chargedShare is what a connection counts in once it was charged to its identity.
var chargedShare = workload.Share{Budget: 7}

// TestConnectionIsChargedToItsIdentity as soon as that is known, and given back as that;
// one that the kernel charged already, or of nobody's, stays as it is.
func TestConnectionIsChargedToItsIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		known    bool
		identity *workload.Identity
		charged  bool
	}{
		"recognised now": {false, billing, true}, "known to the kernel": {true, billing, false}, "a stranger": {false, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.known.Store(c.known)
			w.setPolicy(&policy{identity: c.identity})
			client, upstream := w.pair()
			client.close()
			upstream.close()
			eventually(t, "the share is given back", func() bool { return w.claimed.Load() == 0 })
			to := w.charged.Load()
			if (to != nil) != c.charged || to != nil && *to != billing.Name {
				t.Errorf("it was charged to %v, want to its identity: %v", to, c.charged)
			}
			if got := *w.released.Load(); (got == chargedShare) != c.charged {
				t.Errorf("%+v was given back", got)
			}
		})
	}
}
