package authority

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Kinds of activity.
const (
	kindEnrol     = "enrol"
	kindIDToken   = "id_token"
	kindInvite    = "invite"
	kindKey       = "workload_key"
	kindSecret    = "secret"
	kindAdmin     = "admin"
	kindRestore   = "restore"
	kindAggregate = "refusals"      // unauthenticated ones, beyond the rate
	kindDropped   = "activity.drop" // events went for their number
)

const (
	// Unauthenticated refusals are recorded one by one up to this rate; beyond it
	// they are only counted, or anybody could fill the disk.
	refusalsPerSecond = 10
	refusalsBurst     = 100
	// Decisions about one workload, or by one ticket, are recorded one by one up to this
	// rate; beyond it they are counted together: over 90 days 8 % of five million.
	recordedPerSecond = 1.0 / 20
	recordedBurst     = 2000
)

// activity decides which decisions are recorded one by one.
type activity struct {
	limiter  *rate.Limiter    // of unauthenticated refusals
	recorded *limiter[string] // of traffic and refusals of workloads, tickets and administrators, by id
	changed  *limiter[string] // of enrolments, keys and minted tickets, by id of who makes them
	missed   atomic.Int64
}

func newActivity() *activity {
	return &activity{
		limiter:  rate.NewLimiter(refusalsPerSecond, refusalsBurst),
		recorded: newLimiter[string](recordedPerSecond, recordedBurst),
		changed:  newLimiter[string](recordedPerSecond, recordedBurst),
	}
}

// event starts an event about the request.
func (a *Authority) event(r *http.Request, kind string) store.Event {
	return store.Event{At: a.now(), Kind: kind, Source: a.source(r).String()}
}

// refuseUnauthenticated records a refusal of somebody who proved nothing. They
// are refused in any case, so that a failure to record is for the log.
func (a *Authority) refuseUnauthenticated(r *http.Request, e store.Event, reason string) {
	e.Allowed, e.Reason, e.Class = false, reason, store.Unauthenticated
	a.metrics.refusals.WithLabelValues(e.Kind).Inc()
	if !a.activity.limiter.AllowN(a.now(), 1) {
		a.activity.missed.Add(1)
		return
	}
	if err := a.record(r.Context(), e); err != nil {
		a.log.ErrorContext(r.Context(), "cannot record a refusal", "kind", e.Kind, "error", err)
	}
}

// record adds an event; one that cannot be written refuses its request.
func (a *Authority) record(ctx context.Context, e store.Event) error {
	if err := a.store.Write(ctx, func(tx *store.Tx) error { return a.appendEvent(tx, e) }); err != nil {
		return fmt.Errorf("record activity: %w", err)
	}
	return nil
}

// recordMissed adds one event for the refusals that were only counted.
func (a *Authority) recordMissed(ctx context.Context) error {
	missed := a.activity.missed.Swap(0)
	if missed == 0 {
		return nil
	}
	err := a.record(ctx, store.Event{
		At: a.now(), Kind: kindAggregate, Reason: "too many to record one by one", Count: missed, Class: store.Unauthenticated,
	})
	if err != nil {
		a.activity.missed.Add(missed)
	}
	return err
}
