//go:build linux

package probe

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func fileNumber(n int) bpf.ConnectFileId { return bpf.ConnectFileId{Inode: uint64(n), Generation: 9} }

func (h *host) maskOf(t *testing.T, file bpf.ConnectFileId) (mask uint64) {
	t.Helper()
	if err := h.probe.connect.Files.Lookup(&file, &mask); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return mask
}

// However many files fit one identity, those of another stay known.
func TestEachIdentityHasItsPartOfTheFiles(t *testing.T) {
	h := newHost(t)
	h.rest(t)
	const identities, part = 8, maxConditions / 8
	l := h.probe.learnt
	must(t, l.recognise(fileNumber(1), 3, identities))
	for n := 1; n <= maxConditions+part; n++ {
		must(t, l.recognise(fileNumber(n), 4, identities))
	}
	must(t, l.recognise(fileNumber(2), 5, identities))
	for n, want := range map[int]uint64{
		1: 1 << 3, 2: 1 << 5, 3: 0,
		maxConditions: 0, maxConditions + 1: 1 << 4, maxConditions + part: 1 << 4,
	} {
		if got := h.maskOf(t, fileNumber(n)); got != want {
			t.Errorf("file %d is that of identities %b, want %b", n, got, want)
		}
	}
	files, err := entriesOf[bpf.ConnectFileId, uint64](h.probe.connect.Files)
	must(t, err)
	if len(files) != part+2 || len(l.recognised) != len(files) {
		t.Errorf("%d files are known, and %d remembered; want %d", len(files), len(l.recognised), part+2)
	}
}

// An agent that takes over goes on knowing what the former one recognised.
func TestRecognisedFilesAreInherited(t *testing.T) {
	h := newSilentHost(t)
	billing := copyOf(t, "billing")
	pattern := selected(t, exactIdentity, workload.SelectorSpec{Executables: []string{"/**/billing"}, AnyUser: true})
	h.watchFor(t, pattern)
	first, second := h.startIn(t, billing, h.place()), h.startIn(t, billing, h.place())
	h.recognise(t, first, exactIdentity)
	must(t, h.leave())
	h.startAgent(t)
	h.requireFate(t, "another process of the file", second, at(target4), refused)
	h.watchFor(t, pattern)
	h.requireFate(t, "once that was looked at", second, at(target4), refused)
}

func smallMap(t *testing.T, kind ebpf.MapType, key, value, entries uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: kind, KeySize: key, ValueSize: value, MaxEntries: entries})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// What cannot be told keeps nothing else from being told, and is tried again.
func TestLearningGoesOnAfterErrors(t *testing.T) {
	h := newHost(t)
	l := newLearnt(&h.probe.connect)
	l.roots = smallMap(t, ebpf.Hash, 8, 8, 2)
	l.files = smallMap(t, ebpf.Hash, 40, 8, 2)
	must(t, l.nameCgroups(map[uint64]uint64{1: 1, 2: 1}))
	must(t, l.nameFiles(map[bpf.ConnectFileId]uint64{fileNumber(1): 1, fileNumber(2): 1}))

	const many = 30
	cgroups := func() map[uint64]uint64 {
		named := map[uint64]uint64{2: 3}
		for n := uint64(3); n < many; n++ {
			named[n] = 1
		}
		return named
	}
	files := func() map[bpf.ConnectFileId]uint64 {
		named := map[bpf.ConnectFileId]uint64{}
		for n, mask := range cgroups() {
			named[fileNumber(int(n))] = mask
		}
		return named
	}
	for range 2 {
		if err := l.nameCgroups(cgroups()); !errors.Is(err, unix.E2BIG) {
			t.Errorf("cgroups for which there is no room: %v", err)
		}
		if err := l.nameFiles(files()); !errors.Is(err, unix.E2BIG) {
			t.Errorf("files for which there is no room: %v", err)
		}
	}
	roots, err := entriesOf[uint64, uint64](l.roots)
	must(t, err)
	known, err := entriesOf[bpf.ConnectFileId, uint64](l.files)
	must(t, err)
	if roots[1] != 0 || roots[2] != 3 || len(roots) != 2 || known[fileNumber(1)] != 0 || known[fileNumber(2)] != 3 || len(known) != 2 {
		t.Errorf("the kernel knows cgroups %v and files %v, want the second and another of each", roots, known)
	}
	must(t, l.nameCgroups(map[uint64]uint64{5: 2}))
	must(t, l.nameFiles(map[bpf.ConnectFileId]uint64{fileNumber(5): 2}))
	if roots, err = entriesOf[uint64, uint64](l.roots); err != nil || len(roots) != 1 || roots[5] != 2 {
		t.Errorf("the kernel knows cgroups %v (%v), want the one that is named now", roots, err)
	}
}

// What user space said of an identity's cgroup is not lost where others push out what
// the kernel found out about it.
func TestCgroupThatIsPushedOut(t *testing.T) {
	h := newClosedHost(t)
	h.rest(t)
	path := h.cgroup.Name
	h.watchFor(t, workload.Condition{
		Identity: exactIdentity, Cgroup: func(p string) bool { return p == path }, Certain: &workload.Certainty{},
	})
	c := h.start(t, "billing")
	h.answers(t)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	h.claim(t, unix.AF_INET)
	must(t, h.probe.LearnCgroup(h.cgroup.ID, path))
	h.silence(t)
	h.requireFate(t, "in the cgroup of an identity", c, at(target4), refused)
	must(t, h.probe.connect.Cgroups.Delete(h.cgroup.ID))
	h.requireFate(t, "once that was pushed out", c, at(target4), refused)
	for id := range uint64(2 * maxConditions) { // of cgroups that are gone
		must(t, h.probe.learnt.tellCgroup(1<<40+id, "/gone", 1))
	}
	must(t, h.probe.LearnCgroup(h.cgroup.ID, path))
	must(t, h.probe.connect.Cgroups.Delete(h.cgroup.ID))
	h.requireFate(t, "once it was told again", c, at(target4), refused)
}

// What is cleared has nothing left of what was there, whatever comes and goes meanwhile.
func TestClearMissesNothing(t *testing.T) {
	const stay, churn, rounds = 2000, 14_000, 10
	for _, kind := range []ebpf.MapType{ebpf.Hash, ebpf.LRUHash} {
		m := smallMap(t, kind, 8, 8, 16_384)
		var ended atomic.Bool
		var workers sync.WaitGroup
		for first := range uint64(2) {
			workers.Go(func() {
				for n := first; !ended.Load(); n += 2 {
					_ = m.Put(stay+n%churn, n)
					_ = m.Delete(stay + (n+churn/2)%churn)
				}
			})
		}
		for range rounds {
			for n := range uint64(stay) {
				must(t, m.Put(n, n))
			}
			must(t, clear[uint64, uint64](m))
			left, err := entriesOf[uint64, uint64](m)
			must(t, err)
			for key := range left {
				if key < stay {
					t.Errorf("%v: entry %d is left", kind, key)
					break
				}
			}
		}
		ended.Store(true)
		workers.Wait()
	}
}
