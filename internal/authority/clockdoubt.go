package authority

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// settingClockDoubt is a clockNote while the clock is in doubt, and "" otherwise.
const settingClockDoubt = "clock_doubt"

// clockNote is what the next start must know of a clock in doubt: what was recorded
// meanwhile is dated by it, and would have it believed.
type clockNote struct {
	Right time.Time     `json:"right"`       // what it should have said when this was noted
	For   time.Duration `json:"doubted_for"` // how long it had been in doubt by then
}

// watchClock begins to watch the clock, and says so if it is in doubt from the start.
func (a *Authority) watchClock(ctx context.Context) error {
	before, err := readClockNote(a.store.Read(ctx))
	if err != nil {
		return err
	}
	now := a.now()
	if before.Right.IsZero() {
		last, err := a.store.Read(ctx).LastRecorded()
		if err != nil {
			return err
		}
		a.watchFrom(ctx, now, last)
	} else {
		a.resumeWatch(ctx, now, before)
	}
	if err := a.noteDoubt(ctx); err != nil { // on a full disk, say, where nothing else is recorded either
		a.log.ErrorContext(ctx, "a doubt about the clock is not noted, and tried again", "error", err)
	}
	return nil
}

// watchFrom compares the clock with the last record.
func (a *Authority) watchFrom(ctx context.Context, now, last time.Time) {
	a.wall = newWallClock(now, last, a.config.Elapsed)
	if !a.wall.believed() {
		a.log.WarnContext(ctx, "the clock is behind the last record, or far ahead of it: expired tickets stay, signing keys are not replaced and the time in between does not count for the age of events until the clock is right, or for a day; look whether it is",
			"clock", now.UTC(), "last_record", last.UTC())
	}
}

// resumeWatch goes on with the doubt of before this start.
func (a *Authority) resumeWatch(ctx context.Context, now time.Time, before clockNote) {
	a.wall = resumeWallClock(now, before.Right, before.For, a.config.Elapsed)
	a.wall.noted = true
	if !a.wall.believed() {
		a.log.WarnContext(ctx, "the clock was in doubt before this start, and still is: expired tickets stay, signing keys are not replaced and the time in between does not count for the age of events until the clock is right, or for a day in all; look whether it is",
			"clock", now.UTC(), "right_before", before.Right.UTC(), "doubted_for", before.For)
	}
}

// lookAtClock reports whether the clock is to be believed, and logs it if it jumped.
func (a *Authority) lookAtClock(ctx context.Context, now time.Time) (believed bool) {
	jumped, believed := a.wall.look(now)
	if jumped != 0 {
		a.log.WarnContext(ctx, "the clock jumped: expired tickets stay and signing keys are not replaced until it is right again, or for a day; if it went back, workloads may be refused until it is where it was",
			"by", jumped)
	}
	return believed
}

// noteAtEnd looks a last time, and notes what the clock should say at the end: a note may
// be an hour old, and the next start would take a clock that was set right for one that
// was not. Of a doubt that just ended it leaves a note too, by which the next start can see
// that the clock is right; the last record may be dated by the wrong one.
func (a *Authority) noteAtEnd(ctx context.Context) error {
	a.tidying.Lock()
	defer a.tidying.Unlock()
	if a.lookAtClock(ctx, a.now()) && !a.wall.noted {
		return nil
	}
	return a.writeNote(ctx, true)
}

// noteDoubt notes that the clock is in doubt, at once and then every hour, and that it is
// not any more.
func (a *Authority) noteDoubt(ctx context.Context) error {
	doubt := !a.wall.believed()
	if doubt == a.wall.noted && (!doubt || a.config.Elapsed() < a.wall.notedAt+markInterval) {
		return nil
	}
	return a.writeNote(ctx, doubt)
}

// writeNote writes the note, or that there is no doubt.
func (a *Authority) writeNote(ctx context.Context, doubt bool) error {
	note := ""
	if doubt {
		text, err := json.Marshal(clockNote{Right: a.wall.right().UTC(), For: a.wall.doubtedFor()})
		if err != nil {
			return fmt.Errorf("note doubt about the clock: %w", err)
		}
		note = string(text)
	}
	err := a.store.Write(ctx, func(tx *store.Tx) error { return tx.SetSetting(settingClockDoubt, note) })
	if err == nil {
		a.wall.noted, a.wall.notedAt = doubt, a.config.Elapsed()
	}
	return err
}

// readClockNote returns the zero note where the clock was not in doubt.
func readClockNote(q store.Queries) (note clockNote, err error) {
	text, err := q.Setting(settingClockDoubt)
	if errors.Is(err, store.ErrNotFound) || err == nil && text == "" {
		return clockNote{}, nil
	}
	if err != nil {
		return clockNote{}, err
	}
	if err := json.Unmarshal([]byte(text), &note); err != nil {
		return clockNote{}, fmt.Errorf("read setting %s: %w", settingClockDoubt, err)
	}
	return note, nil
}
