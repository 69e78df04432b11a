package authority

import (
	"cmp"
	"context"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

const (
	// countedInterval is how often what was counted together becomes an event.
	countedInterval = 10 * time.Minute
	countedAtOnce   = 1000
)

// classOf is the class of a decision that has none yet. Whatever is not known to be
// anything else is an administrator's, whose events no number of others evicts.
func classOf(e store.Event) store.Class {
	switch {
	case e.Class != "":
		return e.Class
	case e.Kind == kindIDToken, e.Kind == kindSecret:
		return store.Traffic
	case e.Kind == kindEnrol, e.Kind == kindKey, e.Kind == kindInvite:
		if e.Allowed {
			return store.Enrolment
		}
		return store.Traffic
	case e.Kind == kindAdmin: // a refused one: what is allowed has the kind of its resource
		return store.Traffic
	}
	return store.Administration
}

// appendEvent records a decision in the write that it is of. Beyond a rate those about
// one workload, or by one ticket, are counted together: none of them fills the activity,
// stopped or not. What makes a workload, a key or a ticket has an event of its own
// however many there are, and its own rate, which no traffic uses up; beyond that it is
// kept as long as traffic is.
func (a *Authority) appendEvent(tx *store.Tx, e store.Event) error {
	e.Class = classOf(e)
	subject := cmp.Or(e.WorkloadID, e.TicketID, e.AdminID)
	switch {
	case e.Class == store.Administration, e.Class == store.Unauthenticated:
		return tx.AppendEvent(e)
	case e.Class == store.Enrolment:
		if e.Kind == kindEnrol {
			subject = e.TicketID // which makes them
		}
		if a.activity.changed.take(subject, a.now()) != 0 {
			e.Class = store.Traffic
		}
		return tx.AppendEvent(e)
	case a.activity.recorded.take(subject, a.now()) == 0:
		return tx.AppendEvent(e)
	}
	a.metrics.counted.Inc()
	if !e.Allowed {
		e.Resource = "" // whatever was asked for
	}
	return tx.CountEvent(e)
}

// recordCounted makes events of what was counted together.
func (a *Authority) recordCounted(ctx context.Context) error {
	for {
		var counted []store.Event
		err := a.store.Write(ctx, func(tx *store.Tx) (err error) {
			counted, err = tx.TakeCounted(countedAtOnce)
			for i := 0; i < len(counted) && err == nil; i++ {
				e := counted[i]
				e.At, e.Class = a.now(), store.Traffic
				e.Reason = "too many to record one by one"
				if last := counted[i].Reason; last != "" {
					e.Reason += "; the last one: " + last
				}
				err = tx.AppendEvent(e)
			}
			return err
		})
		if err != nil || len(counted) < countedAtOnce {
			return err
		}
	}
}
