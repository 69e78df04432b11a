package authority

import (
	"errors"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// decision does what a workload asked for, or refuses it and says why in the event. It
// runs in the write that records what it decides. now is the workload, with its ticket,
// as that write finds it: an administrator may have changed either since the request
// came. What it refuses it must not have done, not even in part, except to spend a proof.
type decision func(tx *store.Tx, now store.Enrolled, event *store.Event) (*refusal, error)

// decide spends the caller's assertion, evaluates the controls that any contact is
// under, has act decide, and records the outcome: all in one write, so that no change
// of an administrator comes between. A refusal uses nothing up but the assertion, and
// the proof of a key where act has come to it.
func (a *Authority) decide(r *http.Request, who caller, event store.Event, act decision) error {
	event.WorkloadID, event.TicketID = who.Workload.ID, who.Ticket.ID
	from := a.source(r)
	var refused *refusal
	err := a.store.Write(r.Context(), func(tx *store.Tx) (err error) {
		event.At = a.now()
		now := who.Enrolled
		if refused, err = spend(tx, who.assertion, &event); err == nil && refused == nil {
			now, refused, err = admit(tx, who, from, &event)
		}
		if err == nil && refused == nil {
			refused, err = act(tx, now, &event)
		}
		if err != nil {
			return err
		}
		if event.Allowed = refused == nil; !event.Allowed {
			event.TokenID = ""
		}
		return errors.Join(a.appendEvent(tx, event), tx.Contacted(now.Workload, event.At))
	})
	if err != nil {
		return err
	}
	if refused != nil {
		a.metrics.refusals.WithLabelValues(event.Kind).Inc()
		return refused
	}
	return nil
}

// spend refuses an assertion that was used before.
func spend(tx *store.Tx, assertion signedOnce, event *store.Event) (*refusal, error) {
	first, err := tx.SpendID(assertion.sender, assertion.id, assertion.expires)
	if err != nil || first {
		return nil, err
	}
	event.Reason = "the assertion was used before"
	return refusedAssertion(), nil
}

// admit returns the workload as it is now, or refuses it: its key may have been replaced,
// or it may have been stopped, since it was authenticated.
func admit(tx *store.Tx, who caller, from source, event *store.Event) (store.Enrolled, *refusal, error) {
	now, err := tx.CurrentWorkload(who.Workload.ID)
	if err != nil {
		return now, nil, err
	}
	if now.Workload.Thumbprint != who.Workload.Thumbprint {
		event.Reason = "the assertion is by a key that was replaced meanwhile"
		return now, refusedAssertion(), nil
	}
	v, err := checkContact(tx.Queries, now, from, event.At)
	return now, refusedBy(v, event), err
}

// refusedBy is the refusal of an authenticated workload, which is told the control; nil
// if none refuses.
func refusedBy(v *violation, event *store.Event) *refusal {
	if v == nil {
		return nil
	}
	event.Reason = v.String()
	return &refusal{status: http.StatusForbidden, message: v.message()}
}

// forbid records that a control refuses an authenticated workload, and says so.
func (a *Authority) forbid(r *http.Request, who caller, event store.Event, v *violation) error {
	return a.decide(r, who, event, func(_ *store.Tx, _ store.Enrolled, event *store.Event) (*refusal, error) {
		return refusedBy(v, event), nil
	})
}
