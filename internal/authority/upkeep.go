package authority

import (
	"context"
	"errors"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// upkeepInterval is how often expired things are removed.
const upkeepInterval = 30 * time.Second

// upkeep runs until ctx ends; Close waits for it.
func (a *Authority) upkeep(ctx context.Context) {
	defer close(a.done)
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			// What was counted must not be lost with the process.
			last := context.WithoutCancel(ctx)
			if err := errors.Join(a.recordMissed(last), a.recordCounted(last), a.noteAtEnd(last)); err != nil {
				a.log.Error("upkeep failed", "error", err)
			}
			return
		}
		if err := a.tidy(ctx); err != nil && ctx.Err() == nil {
			a.log.ErrorContext(ctx, "upkeep failed", "error", err)
		}
	}
}

// tidy removes what has expired, replaces signing keys in time, and records what was
// only counted. What it cannot undo it does not do by a clock that has just jumped.
func (a *Authority) tidy(ctx context.Context) error {
	a.tidying.Lock()
	defer a.tidying.Unlock()
	now := a.now()
	believed := a.lookAtClock(ctx, now)
	errs := []error{
		a.noteDoubt(ctx),
		a.recordMissed(ctx),
		a.store.ForgetSpentIDs(ctx, now),
		a.recordCountedInTime(ctx),
		a.retain(ctx),
	}
	if believed {
		errs = append(errs,
			a.keys.Maintain(ctx, now, recordKeyChange(store.Event{At: now})),
			a.store.ForgetUnusedTickets(ctx, now.Add(-unusedTicketRetention)))
	}
	return errors.Join(errs...)
}

func (a *Authority) recordCountedInTime(ctx context.Context) error {
	now := a.ageing.witnessed()
	if now < a.ageing.counted+countedInterval {
		return nil
	}
	a.ageing.counted = now
	return a.recordCounted(ctx)
}
