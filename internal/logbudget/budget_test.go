package logbudget

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newBudget(strangers, identities int) (*Budget, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	return New(Config{Every: 10 * time.Second, Strangers: strangers, Identities: identities, Now: c.Now}), c
}

func user(uid uint32) Source { return Stranger(workload.UserParty(uid)) }

func in(place uint64, uid uint32, netns uint64) Source {
	return Stranger(workload.ProcessParty(place, uid, netns))
}

func (b *Budget) passes(t *testing.T, source Source) uint64 {
	t.Helper()
	dropped, ok := b.Allow("kind", source)
	if !ok {
		t.Fatalf("no line passes about %+v", source)
	}
	return dropped
}

func (b *Budget) drops(t *testing.T, source Source, n int) {
	t.Helper()
	for range n {
		if _, ok := b.Allow("kind", source); ok {
			t.Fatalf("a line more than the budget passes about %+v", source)
		}
	}
}

func TestOneLineOfAKindAboutASource(t *testing.T) {
	b, c := newBudget(4, 4)
	flood := user(1000)
	if n := b.passes(t, flood); n != 0 {
		t.Errorf("the first line left %d out", n)
	}
	b.drops(t, flood, 30_000)
	if _, ok := b.Allow("another kind", flood); !ok {
		t.Error("a flood of one kind silences another kind")
	}
	c.now = c.now.Add(10*time.Second - 1)
	b.drops(t, flood, 1)
	c.now = c.now.Add(1)
	if n := b.passes(t, flood); n != 30_001 {
		t.Errorf("%d left out, want 30001", n)
	}
	c.now = c.now.Add(10 * time.Second)
	if n := b.passes(t, flood); n != 0 {
		t.Errorf("%d left out are told twice", n)
	}
}

func TestNoSourceSilencesAnother(t *testing.T) {
	b, _ := newBudget(16, 4)
	b.passes(t, in(1, 1000, 1))
	b.drops(t, in(1, 1000, 1), 1)
	for _, other := range []Source{
		in(1, 1001, 1), in(1, 0, 1), in(2, 0, 1), in(1, 0, 2), {}, in(0, 0, 0),
		Identity("billing"), Identity("reports"),
	} {
		b.passes(t, other)
		b.drops(t, other, 1)
	}
}

// What is said about an identity at one destination does not hide what is said about it
// at another; a stranger has one budget wherever it goes.
func TestDestinationsOfAnIdentity(t *testing.T) {
	b, _ := newBudget(16, 4)
	for _, source := range []Source{
		Identity("billing"), Identity("billing").At("ledger"), Identity("billing").At("payroll"), Identity("reports").At("ledger"),
	} {
		b.passes(t, source)
		b.drops(t, source, 65)
	}
	b.passes(t, user(1000).At("ledger"))
	b.drops(t, user(1000).At("payroll"), 1)
	if Identity("billing").At("ledger").Place() != Identity("billing").Place() {
		t.Error("an identity's destinations are in different places")
	}
}

// A container's root takes on any user id, and everybody makes network namespaces: what
// they can silence is one another.
func TestUsersOfOnePlaceSilenceEachOther(t *testing.T) {
	b, _ := newBudget(64, 4)
	passed := 0
	for i := range uint32(10_000) {
		if _, ok := b.Allow("kind", in(7, i, uint64(i%5))); ok {
			passed++
		}
	}
	if passed != 32+1 {
		t.Errorf("%d lines about one place pass, want half of 64, and one about the rest", passed)
	}
	for uid := range uint32(20) {
		b.passes(t, user(1000+uid))
		b.drops(t, user(1000+uid), 1)
	}
}

// Whoever commands more users than there are budgets silences other strangers,
// which is said by a line, but no identity; and neither lines nor memory grow.
func TestManyStrangers(t *testing.T) {
	b, c := newBudget(64, 4)
	lines := 0
	for uid := range uint32(10_000) {
		for range 3 {
			if _, ok := b.Allow("kind", user(1+uid)); ok {
				lines++
			}
		}
	}
	if lines != 65 {
		t.Errorf("%d lines, want 65", lines)
	}
	for i := range 4 {
		b.passes(t, Identity(fmt.Sprint("identity-", i)))
	}
	b.passes(t, Identity("one too many"))
	b.drops(t, Identity("another one too many"), 1)
	if n := len(b.kinds["kind"][0].entries); n > 64 {
		t.Errorf("%d sources are remembered", n)
	}
	c.now = c.now.Add(10 * time.Second)
	told := b.passes(t, user(20_000)) // it makes room
	told += b.passes(t, user(20_001))
	for uid := uint32(20_002); told < 30_000-65 && uid < 30_000; uid++ {
		dropped, _ := b.Allow("kind", user(uid))
		told += dropped
	}
	if told != 30_000-65 {
		t.Errorf("%d lines were left out, and %d are told", 30_000-65, told)
	}
}

func TestWarnTellsWhatWasLeftOut(t *testing.T) {
	b, c := newBudget(4, 4)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	for range 3 {
		b.Warn(log, "kind", Source{}, "a message", "fact", 1)
	}
	c.now = c.now.Add(time.Minute)
	b.Warn(log, "kind", Source{}, "a message", "fact", 2)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], "left_out") || !strings.HasSuffix(lines[1], "fact=2 left_out=2") {
		t.Errorf("logged\n%s", out.String())
	}
}

func TestConcurrentUse(t *testing.T) {
	b, _ := newBudget(8, 8)
	var passed sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				if _, ok := b.Allow("kind", user(uint32(1+i%4))); ok {
					if _, twice := passed.LoadOrStore(i%4, true); twice {
						t.Error("two lines pass about one source")
					}
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkFlood(b *testing.B) {
	budget := New(Config{})
	for i := range b.N {
		budget.Allow("kind", user(uint32(1+i%1000)))
	}
}
