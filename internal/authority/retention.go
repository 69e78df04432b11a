package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const (
	// markInterval is how exactly the age of events is known.
	markInterval = time.Hour
	// maxDowntime is how much of a time in which the authority did not run counts for the
	// age of events. Of how long that was only the clock on the wall tells, and it may
	// have jumped: where it is in doubt, nothing of it counts.
	maxDowntime = 24 * time.Hour
	// droppedInterval is how often it is told that events went for their number.
	droppedInterval = time.Hour
)

// ageing tells how old events are. It counts the time that passes while the authority
// runs, by a clock that nobody sets: one that jumps by years deletes nothing. It is of
// one goroutine at a time.
type ageing struct {
	elapsed func() time.Duration
	before  time.Duration // what had passed when elapsed was began
	began   time.Duration
	marked  time.Duration // what had passed at the last mark
	told    map[store.Class]time.Duration
	counted time.Duration // when what was counted together was recorded last
}

// beginAgeing goes on from the last mark, and makes the first one.
func (a *Authority) beginAgeing(ctx context.Context) error {
	g := &ageing{elapsed: a.config.Elapsed, began: a.config.Elapsed(), told: make(map[store.Class]time.Duration), counted: -countedInterval}
	a.ageing = g
	last, err := a.store.Read(ctx).LastMark()
	if errors.Is(err, store.ErrNotFound) {
		return a.store.Write(ctx, func(tx *store.Tx) error { return tx.MarkEvents(0, a.now()) })
	}
	if err != nil {
		return fmt.Errorf("read marks of the activity: %w", err)
	}
	g.marked, g.before = last.Witnessed, last.Witnessed
	if a.wall.believed() {
		g.before += min(max(a.now().Sub(last.At), 0), maxDowntime)
	}
	return nil
}

// witnessed is how much time has passed, for the age of events.
func (g *ageing) witnessed() time.Duration { return g.before + g.elapsed() - g.began }

// retain removes the events whose time is over, and of each class those beyond its
// number.
func (a *Authority) retain(ctx context.Context) error {
	if err := a.mark(ctx); err != nil {
		return err
	}
	var errs []error
	for _, class := range store.Classes() {
		errs = append(errs, a.retainClass(ctx, class))
	}
	return errors.Join(errs...)
}

// mark notes, every hour, which events there are.
func (a *Authority) mark(ctx context.Context) error {
	now := a.ageing.witnessed()
	if now < a.ageing.marked+markInterval {
		return nil
	}
	longest := max(a.config.ActivityRetention, a.config.ChangesRetention)
	err := a.store.Write(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.MarkEvents(now, a.now()), tx.ForgetMarks(now-longest))
	})
	if err == nil {
		a.ageing.marked = now
	}
	return err
}

// retention is how long events of the class are kept, and how many.
func (c Config) retention(class store.Class) (life time.Duration, keep int64) {
	switch class {
	case store.Traffic:
		return c.ActivityRetention, c.MaxEvents
	case store.Unauthenticated:
		return c.ActivityRetention, c.MaxEvents / 10
	case store.Enrolment:
		return c.ChangesRetention, c.MaxEvents / 2
	case store.BeforeClasses: // of all kinds, by the number that was theirs
		return c.ChangesRetention, c.MaxEvents
	}
	return c.ChangesRetention, 0
}

// nameOf is what the class is called where it is told of: those from before there were
// classes have no name of their own.
func nameOf(class store.Class) string { return cmp.Or(string(class), "none") }

func (a *Authority) retainClass(ctx context.Context, class store.Class) error {
	life, keep := a.config.retention(class)
	through, err := a.store.Read(ctx).MarkedBy(a.ageing.witnessed() - life)
	if err != nil {
		return err
	}
	gone, err := a.store.ForgetEvents(ctx, class, store.Retention{Through: through, Keep: keep})
	if keep == 0 {
		return err
	}
	a.metrics.dropped.WithLabelValues(nameOf(class)).Add(float64(gone.Dropped))
	if err != nil {
		return err
	}
	return a.tellDropped(ctx, class, keep)
}

// tellDropped records, and logs, how many events of the class went for their number:
// the first time at once, and then every hour.
func (a *Authority) tellDropped(ctx context.Context, class store.Class, keep int64) error {
	now := a.ageing.witnessed()
	if last, told := a.ageing.told[class]; told && now < last+droppedInterval {
		return nil
	}
	var dropped int64
	err := a.store.Write(ctx, func(tx *store.Tx) (err error) {
		if dropped, err = tx.TakeDropped(class); err != nil || dropped == 0 {
			return err
		}
		return tx.AppendEvent(store.Event{
			At: a.now(), Kind: kindDropped, Allowed: true, Count: dropped, Class: store.Administration, Resource: "Activity/" + nameOf(class),
			Reason: fmt.Sprintf("the oldest events of class %s went before their time: more than %d", nameOf(class), keep),
		})
	})
	if err != nil || dropped == 0 {
		return err
	}
	a.ageing.told[class] = now
	a.log.WarnContext(ctx, "activity was dropped before its time; export it, raise LANYARD_ACTIVITY_MAX_EVENTS, or look who makes so much of it",
		"class", nameOf(class), "events", dropped, "kept", keep)
	return nil
}
