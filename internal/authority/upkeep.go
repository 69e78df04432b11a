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
			if err := a.recordMissed(context.WithoutCancel(ctx)); err != nil {
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
// only counted.
func (a *Authority) tidy(ctx context.Context) error {
	now := a.now()
	return errors.Join(
		a.recordMissed(ctx),
		a.keys.Maintain(ctx, now, recordKeyChange(store.Event{At: now})),
		a.store.ForgetSpentIDs(ctx, now),
		a.store.ForgetUnusedTickets(ctx, now.Add(-unusedTicketRetention)),
		a.store.ForgetEvents(ctx, now.Add(-a.config.ActivityRetention), maxEvents),
	)
}
