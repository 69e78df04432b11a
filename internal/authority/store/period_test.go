package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	const gap = int64(time.Hour / time.Millisecond)
	for name, tt := range map[string]struct{ add, want string }{
		"none":              {"0-0", ""},
		"one":               {"5-9", "5-9"},
		"apart":             {fmt.Sprintf("5-9 %d-%d", 10*gap, 11*gap), fmt.Sprintf("5-9 %d-%d", 10*gap, 11*gap)},
		"near":              {fmt.Sprintf("5-9 %d-%d", gap, 2*gap), fmt.Sprintf("5-%d", 2*gap)},
		"within":            {"5-90 6-8", "5-90"},
		"overlapping":       {"50-90 6-60", "6-90"},
		"between two":       {fmt.Sprintf("5-9 %d-%d %d-%d", 3*gap, 4*gap, gap, 2*gap), fmt.Sprintf("5-%d", 4*gap)},
		"in another order ": {fmt.Sprintf("%d-%d 5-9", 10*gap, 11*gap), fmt.Sprintf("5-9 %d-%d", 10*gap, 11*gap)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := periodsOf(t, tt.add).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestPeriodsAreBounded, and none is lost.
func TestPeriodsAreBounded(t *testing.T) {
	var all periods
	var times []int64
	for i := range int64(3 * maxPeriods) {
		at := 1 + i*i*periodGap.Milliseconds()*2
		times = append(times, at)
		all.add(period{at, at})
	}
	if len(all) != maxPeriods {
		t.Errorf("%d periods", len(all))
	}
	for _, at := range times {
		if !all.hold(at) {
			t.Errorf("%d is lost", at)
		}
	}
	if newest := times[len(times)-1]; all.hold(newest-1) || all.hold(newest+1) {
		t.Error("what is far from all others was taken together with them")
	}
}

func periodsOf(t *testing.T, text string) (all periods) {
	t.Helper()
	for text != "" {
		var p period
		n, err := fmt.Sscanf(text, "%d-%d", &p.From, &p.To)
		if err != nil || n != 2 {
			t.Fatal(text, err)
		}
		all.add(p)
		if len(text) <= len(p.String()) {
			return all
		}
		text = text[len(p.String())+1:]
	}
	return all
}

func (p period) String() string { return fmt.Sprintf("%d-%d", p.From, p.To) }

func (all periods) String() (text string) {
	for i, p := range all {
		if i > 0 {
			text += " "
		}
		text += p.String()
	}
	return text
}

// TestAnIDThatExpiresInAClosedPeriodIsSpent, after a start as before it.
func TestAnIDThatExpiresInAClosedPeriodIsSpent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	for i := range 3 {
		mustWrite(t, s, func(tx *Tx) error {
			check(t, "fresh", true)(tx.SpendID("w", fmt.Sprint(i), start.Add(time.Duration(i)*time.Minute)))
			return nil
		})
	}
	if err := s.ForgetSpentIDs(t.Context(), start.Add(10*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, round := range []string{"before", "after"} {
		check(t, "rows that are left", int64(0))(s.Read(t.Context()).count("SELECT COUNT(*) FROM spent_ids"))
		mustWrite(t, s, func(tx *Tx) error {
			check(t, "the same one", false)(tx.SpendID("w", "1", start.Add(time.Minute)))
			check(t, "another one of the time", false)(tx.SpendID("w", "x", start.Add(90*time.Second)))
			check(t, "before", true)(tx.SpendID("w", "before "+round, start.Add(-time.Second)))
			check(t, "after", true)(tx.SpendID("w", "after "+round, start.Add(2*time.Minute+time.Second)))
			return nil
		})
		if err := s.ForgetSpentIDs(t.Context(), start); err != nil { // keeps those
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		rawExec(t, raw(t, path), "DELETE FROM spent_ids")
	}
}
