package resolver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeep(t *testing.T) {
	var changes atomic.Int64
	config := Config{OnChange: func() { changes.Add(1) }}
	inBubble(t, config, func(t *testing.T, r *Resolver, z *zone) {
		expect := func(step string, wantChanges int64, want map[string][]netip.Addr) {
			t.Helper()
			synctest.Wait()
			got := r.Known()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: known %v, want %v", step, got, want)
			}
			if n := changes.Load(); n != wantChanges {
				t.Errorf("%s: %d changes, want %d", step, n, wantChanges)
			}
		}
		expect("nothing kept", 0, nil)
		z.set("mixed.internal", "127.0.0.1", "10.1.1.2", "169.254.1.1", "10.1.1.1")
		z.set("local.internal", "127.0.0.1")
		r.Keep([]string{"ledger.internal", "Mixed.Internal.", "local.internal", "*.wild.internal", "127.0.0.9", "gone.internal"})
		synctest.Wait()
		n := changes.Load()
		first := map[string][]netip.Addr{
			"ledger.internal": parse("10.0.0.7"), "mixed.internal": parse("10.1.1.1", "10.1.1.2"), "127.0.0.9": parse("127.0.0.9"),
		}
		if n == 0 {
			t.Error("nobody was told")
		}
		expect("kept", n, first)

		sleep(10 * keepEvery)
		expect("nothing new", n, first)
		if asked := z.count("ledger.internal"); asked != 11+secondOpinions {
			t.Errorf("asked %d times in eleven rounds, of which only the first brought an address", asked)
		}

		z.set("ledger.internal", "10.0.0.8")
		sleep(keepEvery)
		both := map[string][]netip.Addr{
			"ledger.internal": parse("10.0.0.7", "10.0.0.8"), "mixed.internal": first["mixed.internal"], "127.0.0.9": first["127.0.0.9"],
		}
		expect("another address", n+1, both)

		sleep(Memory + keepEvery)
		both["ledger.internal"] = parse("10.0.0.8")
		expect("the old one forgotten", n+2, both)

		z.set("ledger.internal", "10.0.0.9") // found on demand, between rounds
		sleep(2 * time.Second)
		if err := verify(t, r, ledger, "ledger.internal", "10.0.0.9"); err != nil {
			t.Error(err)
		}
		both["ledger.internal"] = parse("10.0.0.8", "10.0.0.9")
		expect("found on demand", n+3, both)

		r.Keep([]string{"mixed.internal"})
		expect("kept no more", n+4, map[string][]netip.Addr{"mixed.internal": first["mixed.internal"]})
		asked := z.count("ledger.internal")
		sleep(10 * keepEvery)
		if z.count("ledger.internal") != asked {
			t.Error("a name that is not kept any more is still looked up")
		}
	})
}

func TestKeepThroughAnOutage(t *testing.T) {
	var log strings.Builder
	inBubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, r *Resolver, z *zone) {
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		z.mu.Lock()
		z.err = errors.New("SERVFAIL")
		z.mu.Unlock()
		sleep(Memory - time.Second)
		if len(r.Known()) != 1 {
			t.Error("forgot what was answered less than ten minutes ago")
		}
		sleep(keepEvery)
		if len(r.Known()) != 0 {
			t.Error("remembers what was answered more than ten minutes ago")
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		z.mu.Lock()
		z.err = nil
		z.mu.Unlock()
		sleep(keepEvery)
		if len(r.Known()) != 1 || !strings.Contains(log.String(), "resolved again") {
			t.Errorf("did not come back:\n%s", log.String())
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		r.Keep([]string{"ledger.internal"})
		synctest.Wait()
		sleep(time.Minute)
		for n := range maxNames + 10 {
			host := fmt.Sprintf("h%d.example", n)
			z.set(host, "10.0.0.1")
			if _, err := r.addresses(t.Context(), billing, host); err != nil {
				t.Fatal(err)
			}
		}
		names := *r.names.Load()
		if len(names) != maxNames || names["ledger.internal"] == nil {
			t.Errorf("%d names remembered, the kept one among them: %v", len(names), names["ledger.internal"] != nil)
		}

		for round := range 6 { // a name whose answer is never the same
			var many []string
			for n := range 100 {
				many = append(many, fmt.Sprintf("10.%d.0.%d", round, n))
			}
			z.set("ledger.internal", many...)
			sleep(keepEvery)
		}
		if got := r.Known()["ledger.internal"]; len(got) != maxAnswers || got[len(got)-1] != netip.MustParseAddr("10.5.0.99") {
			t.Errorf("%d addresses of one name, up to %v; want the latest %d", len(got), got[len(got)-1], maxAnswers)
		}
	})
}

func TestKeptNamesAreNotEvicted(t *testing.T) {
	names := map[string]*name{}
	for minute, host := range []string{"kept", "old", "new"} {
		names[host] = &name{host: host}
		names[host].use(int64(minute))
	}
	names["kept"].kept.Store(true)
	if got := leastUsed(names); got != "old" {
		t.Errorf("evicts %q, want the one unused for longest that is not kept", got)
	}
}

// A name that a longer list pushed out can be evicted, or else there would be a
// time when none can.
func TestNameBeyondTheBoundIsKeptNoMore(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		r.Keep([]string{"z.example"})
		hosts := []string{"z.example"}
		for n := range maxKept {
			hosts = append(hosts, fmt.Sprintf("h%d.example", n))
		}
		r.Keep(hosts)
		synctest.Wait()
		if n := (*r.names.Load())["z.example"]; n.kept.Load() || len(r.keptNames()) != maxKept {
			t.Errorf("%d names kept, the one beyond the bound among them: %v", len(r.keptNames()), n.kept.Load())
		}
	})
}

func TestLookupsAtOnceAreBounded(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *Resolver, z *zone) {
		z.delay = time.Second
		var hosts []string
		for n := range maxKept + 10 {
			hosts = append(hosts, fmt.Sprintf("h%d.example", n))
		}
		r.Keep(hosts)
		sleep(20 * time.Second)
		if z.most != maxLookups {
			t.Errorf("%d look-ups at once, want %d", z.most, maxLookups)
		}
	})
}
