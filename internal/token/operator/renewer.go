package operator

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// The age of keys is looked at ten times within the age that they may have, but
// within these bounds.
const (
	minRenewalInterval = time.Second
	maxRenewalInterval = 10 * time.Minute
)

// Renewer renews the keys of workloads when they are old enough. It is the schedule
// of everybody who holds keys.
type Renewer struct {
	MaxAge  time.Duration    // of a key; 0 is for ever
	Clients func() []*Client // those that there are now
	Log     *slog.Logger
}

// Run looks at the age of every key, at first at once, until ctx ends. A workload
// that has not enrolled in this run is left alone: its key comes with its first use.
func (r Renewer) Run(ctx context.Context) {
	if r.MaxAge <= 0 {
		return
	}
	tick := time.NewTicker(min(max(r.MaxAge/10, minRenewalInterval), maxRenewalInterval))
	defer tick.Stop()
	for failing := map[*Client]bool{}; ; {
		failing = r.look(ctx, failing)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look renews the keys that are due, and returns whose could not be. Of failures in
// a row the first is logged.
func (r Renewer) look(ctx context.Context, failing map[*Client]bool) map[*Client]bool {
	failed := map[*Client]bool{}
	for _, c := range r.Clients() {
		id := c.WorkloadID()
		if id == "" {
			continue
		}
		renewed, err := c.RenewKey(ctx, r.MaxAge)
		switch {
		case ctx.Err() != nil, errors.Is(err, errClosed):
		case err != nil:
			failed[c] = true
			if !failing[c] {
				r.Log.Warn("the workload's key was not renewed; it stays in use", "workload", id, "error", err)
			}
		case renewed:
			r.Log.Info("the workload's key was renewed", "workload", id)
		}
	}
	return failed
}
