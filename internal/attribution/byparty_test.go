//go:build linux

package attribution

import (
	"math/rand/v2"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// TestMemoryIsSharedOut draws additions and removals. A party that keeps to an
// equal share of the memory loses nothing, however many the others add.
func TestMemoryIsSharedOut(t *testing.T) {
	const most, parties = 60, 6
	r := rand.New(rand.NewPCG(3, 4))
	b := newByParty[int, int](most)
	modest := workload.UserParty(99)
	kept := map[int]bool{}
	for n := range 50_000 {
		switch {
		case r.IntN(10) == 0 && len(kept) < most/parties:
			b.put(-n, n, modest)
			kept[-n] = true
		case r.IntN(20) == 0:
			for k := range kept {
				b.remove(k)
				delete(kept, k)
				break
			}
		default:
			b.put(r.IntN(500), n, workload.UserParty(uint32(r.IntN(parties-1))))
		}
		if len(b.entries) > most {
			t.Fatalf("%d entries", len(b.entries))
		}
		if len(b.owned[modest]) != len(kept) {
			t.Fatalf("after %d steps: %d of %d left", n, len(b.owned[modest]), len(kept))
		}
	}
	owned := 0
	for p, keys := range b.owned {
		if len(keys) == 0 {
			t.Errorf("%v owns nothing", p)
		}
		owned += len(keys)
	}
	if in := b.in[modest.Place()]; in != len(kept) {
		t.Errorf("the place has %d, want %d", in, len(kept))
	}
	if owned != len(b.entries) {
		t.Errorf("%d owned of %d", owned, len(b.entries))
	}
}

// TestUsersOfOnePlaceForgetEachOther: however many users somebody takes on, another one
// keeps what it has, up to an equal share.
func TestUsersOfOnePlaceForgetEachOther(t *testing.T) {
	const most = 60
	b := newByParty[int, int](most)
	modest := workload.ProcessParty(1, 5, 0)
	for n := range most / 2 {
		b.put(-1-n, n, modest)
	}
	for n := range 10_000 {
		b.put(n, n, workload.ProcessParty(2, uint32(n), uint64(n%3)))
	}
	if left := len(b.owned[modest]); left != most/2 {
		t.Errorf("%d of %d entries are left", left, most/2)
	}
	b.put(20_000, 0, workload.ProcessParty(2, 1_000_000, 0))
	if _, ok := b.get(20_000); !ok || len(b.entries) != most {
		t.Errorf("a newcomer of the place is remembered: %v; %d entries", ok, len(b.entries))
	}
}

// TestImageGoesToItsParty: Current remembers images of which the party is not
// known, which Attribute then knows.
func TestImageGoesToItsParty(t *testing.T) {
	m := newMemory()
	i, p := workload.Image{PID: 7}, workload.UserParty(1)
	for _, owner := range []workload.Party{{}, p, {}} {
		m.remember(i, 1, owner)
	}
	if got := m.shard(i).images.entries[i].owner; got != p {
		t.Errorf("it belongs to %v", got)
	}
}

// TestPartyIsTheFlows, whatever has become of the cgroup meanwhile.
func TestPartyIsTheFlows(t *testing.T) {
	i := self()
	a := attributor(t, newRecord(i))
	party := workload.ProcessParty(7, 8, 9)
	mustAttribute(t, a, workload.Flow{Image: i, UID: 8, CgroupID: 1 << 40, NetNS: 9, PlaceID: 7})
	if got := a.memory.shard(i).images.entries[i].owner; got != party {
		t.Errorf("it is charged to %v, want %v", got, party)
	}
}
