package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxPeriods bounds the periods that are remembered; beyond it the nearest two become
	// one. There is one more with each jump of the clock, and after a quiet hour.
	maxPeriods = 64
	// periodGap is how far apart two periods are at least.
	periodGap = time.Hour

	settingClosedPeriods = "spent_ids_forgotten"
)

// period is a time, in milliseconds since 1970, both ends included; the zero period is
// none.
type period struct{ From, To int64 }

func (p period) isNone() bool { return p == period{} }

func (p period) holds(at int64) bool { return !p.isNone() && p.From <= at && at <= p.To }

// extend makes the period hold that time too.
func (p *period) extend(at int64) {
	if p.isNone() {
		*p = period{at, at}
	}
	p.From, p.To = min(p.From, at), max(p.To, at)
}

// periods are some, in order and apart.
type periods []period

func (all periods) hold(at int64) bool {
	return slices.ContainsFunc(all, func(p period) bool { return p.holds(at) })
}

// add adds one. What is nearly together becomes one: nothing is lost but times at which
// something might have been let in.
func (all *periods) add(p period) {
	if p.isNone() {
		return
	}
	sorted := append(slices.Clone(*all), p)
	slices.SortFunc(sorted, func(a, b period) int { return int(min(max(a.From-b.From, -1), 1)) })
	merged := sorted[:1]
	for _, next := range sorted[1:] {
		if last := &merged[len(merged)-1]; next.From-last.To <= periodGap.Milliseconds() {
			last.To = max(last.To, next.To)
		} else {
			merged = append(merged, next)
		}
	}
	for len(merged) > maxPeriods {
		nearest := 1
		for i := 2; i < len(merged); i++ {
			if merged[i].From-merged[i-1].To < merged[nearest].From-merged[nearest-1].To {
				nearest = i
			}
		}
		merged[nearest-1].To = merged[nearest].To
		merged = slices.Delete(merged, nearest, nearest+1)
	}
	*all = merged
}

func (all *periods) read(q Queries) error {
	text, err := q.Setting(settingClosedPeriods)
	if errors.Is(err, ErrNotFound) {
		*all = nil
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), all); err != nil {
		return fmt.Errorf("read setting %s: %w; the database was changed", settingClosedPeriods, err)
	}
	return nil
}

func (all periods) write(tx *Tx) error {
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("write setting %s: %w", settingClosedPeriods, err)
	}
	_, err = tx.note("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", settingClosedPeriods, string(text))
	return err
}
