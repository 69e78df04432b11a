package authority

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// Limits of a registration.
const (
	maxRegisterBytes = 32 << 10
	maxTicketLength  = 256
	maxClaimed       = 32 // members of environment
	maxClaimedName   = 64
	maxClaimedValue  = 256
)

// registerRequest is the body of POST /operator/v1/register.
type registerRequest struct {
	Ticket      string            `json:"ticket"`
	Key         json.RawMessage   `json:"jwk"`
	Proof       string            `json:"proof"`
	Environment map[string]string `json:"environment"`
}

type registerResponse struct {
	WorkloadID string `json:"workload_id"`
	OperatorID string `json:"operator_id"`
}

// enrolment is a registration of sound form.
type enrolment struct {
	ticket       string
	secretSHA256 string
	key          jose.PublicKey
	claimed      map[string]string
	proof        signedOnce
	from         source
}

// refusedEnrolment is the one answer to every enrolment that is refused, so that
// nobody learns which tickets there are and what became of them.
func refusedEnrolment() *refusal {
	return unauthorized("the enrolment was refused")
}

// register enrols a workload. What is wrong with the form of a request is said,
// for it does not depend on any ticket; what is wrong with the ticket or the
// proof is in the activity log only.
func (a *Authority) register(r *http.Request) (reply, error) {
	var request registerRequest
	if err := readJSON(r, &request, maxRegisterBytes, false); err != nil {
		return reply{}, err
	}
	e, err := parseEnrolment(request)
	if err != nil {
		return reply{}, err
	}
	event := a.event(r, kindEnrol)
	if e.proof, err = a.verifyRegistration(request.Proof, e.ticket, e.key); err != nil {
		a.refuseUnauthenticated(r, event, err.Error())
		return reply{}, refusedEnrolment()
	}
	e.from = a.source(r)
	// Found out before anything is written: strangers must not keep the writer busy.
	ticket, err := a.store.Read(r.Context()).TicketBySecret(e.secretSHA256)
	if errors.Is(err, store.ErrNotFound) {
		a.refuseUnauthenticated(r, event, "no such ticket")
		return reply{}, refusedEnrolment()
	}
	if err != nil {
		return reply{}, err
	}
	if err := a.allowRepetition(r, ticket, e, event); err != nil {
		return reply{}, err
	}
	workloadID, err := a.enrol(r, e, event)
	a.settle(e.proof, err)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: registerResponse{WorkloadID: workloadID, OperatorID: a.operatorID}}, nil
}

// allowRepetition refuses an enrolment that was made already and is asked for again
// over the rate of the workload that it made.
func (a *Authority) allowRepetition(r *http.Request, ticket store.Ticket, e enrolment, event store.Event) error {
	known, err := a.store.Read(r.Context()).WorkloadByKey(ticket.ID, e.key.Thumbprint())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	used, err := a.allowWorkload(known.Workload.ID, e.proof)
	if err == nil && used {
		event.WorkloadID, event.TicketID = known.Workload.ID, ticket.ID
		a.refuseUnauthenticated(r, event, "the proof was used before")
		return refusedEnrolment()
	}
	return err
}

func parseEnrolment(request registerRequest) (enrolment, error) {
	switch {
	case request.Ticket == "":
		return enrolment{}, badRequest(`member "ticket" is missing`)
	case len(request.Ticket) > maxTicketLength:
		return enrolment{}, badRequest(`member "ticket" is longer than %d bytes`, maxTicketLength)
	}
	key, err := parseOfferedKey(request.Key, request.Proof)
	if err != nil {
		return enrolment{}, err
	}
	if err := checkClaimed(request.Environment); err != nil {
		return enrolment{}, err
	}
	return enrolment{
		ticket:       request.Ticket,
		secretSHA256: jose.Digest([]byte(request.Ticket)),
		key:          key,
		claimed:      request.Environment,
	}, nil
}

// parseOfferedKey reads a workload's key, whose proof is not looked at yet.
func parseOfferedKey(jwk json.RawMessage, proof string) (jose.PublicKey, error) {
	switch {
	case jwk == nil:
		return jose.PublicKey{}, badRequest(`member "jwk" is missing`)
	case proof == "":
		return jose.PublicKey{}, badRequest(`member "proof" is missing`)
	case len(proof) > jose.MaxLength:
		return jose.PublicKey{}, badRequest(`member "proof" is longer than %d bytes`, jose.MaxLength)
	}
	key, err := jose.ParsePublicKey(jwk)
	if err != nil {
		return jose.PublicKey{}, badRequest(`member "jwk": %s`, err)
	}
	return key, nil
}

func checkClaimed(claimed map[string]string) error {
	if len(claimed) > maxClaimed {
		return badRequest(`member "environment" has more than %d members`, maxClaimed)
	}
	for name, value := range claimed {
		if name == "" || len(name) > maxClaimedName || len(value) > maxClaimedValue || !isPrintable(name) || !isPrintable(value) {
			return badRequest(`member "environment": names have 1 to %d, values up to %d printable bytes`, maxClaimedName, maxClaimedValue)
		}
	}
	return nil
}

// enrol decides and records in one write, so that two requests for a ticket's
// last use cannot both have it.
func (a *Authority) enrol(r *http.Request, e enrolment, event store.Event) (string, error) {
	candidate, err := randomID(a.random, prefixWorkload)
	if err != nil {
		return "", err
	}
	var fresh bool
	err = a.store.Write(r.Context(), func(tx *store.Tx) error {
		var reason string
		var err error
		event.WorkloadID, fresh, reason, err = a.decideEnrolment(tx, e, candidate, &event)
		if err != nil {
			return err
		}
		event.Allowed, event.Reason = reason == "", reason
		switch {
		case event.Allowed && !fresh:
			event.Class = store.Traffic // nothing came of it
		case event.TicketID == "":
			event.Class = store.Unauthenticated
		}
		return a.appendEvent(tx, event)
	})
	if err == nil {
		a.used.put(e.proof.key(), struct{}{})
	}
	switch {
	case err != nil:
		return "", err
	case !event.Allowed:
		a.metrics.refusals.WithLabelValues(kindEnrol).Inc()
		return "", refusedEnrolment()
	case fresh:
		a.metrics.enrolments.Inc()
	}
	return event.WorkloadID, nil
}

// decideEnrolment returns the workload, and whether it is new, or why there is
// none.
func (a *Authority) decideEnrolment(tx *store.Tx, e enrolment, candidate string, event *store.Event) (id string, fresh bool, reason string, err error) {
	ticket, err := tx.TicketBySecret(e.secretSHA256)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, "no such ticket", nil
	}
	if err != nil {
		return "", false, "", err
	}
	event.TicketID = ticket.ID
	if first, err := tx.SpendID(e.proof.sender, e.proof.id, e.proof.expires); err != nil || !first {
		return "", false, "the proof was used before", err
	}
	now := a.now()
	known, err := tx.WorkloadByKey(ticket.ID, e.key.Thumbprint())
	switch {
	case err == nil:
		if v, err := checkContact(tx.Queries, known, e.from, now); err != nil || v != nil {
			return known.Workload.ID, false, reasonOf(v), err
		}
		return known.Workload.ID, false, "", tx.Contacted(known.Workload, now)
	case !errors.Is(err, store.ErrNotFound):
		return "", false, "", err
	}
	if v := checkEnrolment(ticket, now); v != nil {
		return "", false, v.String(), nil
	}
	if v, err := checkNetworks(tx.Queries, ticket, e.from); err != nil || v != nil {
		return "", false, reasonOf(v), err
	}
	if ok, err := tx.CountUse(ticket.ID); err != nil || !ok {
		return "", false, controlMaxUses + ": the ticket is used up", err
	}
	return candidate, true, "", tx.InsertWorkload(store.Workload{
		ID:         candidate,
		TicketID:   ticket.ID,
		Thumbprint: e.key.Thumbprint(),
		JWK:        e.key.JWK(),
		Claimed:    e.claimed,
		CreatedAt:  now,
	})
}

// isPrintable reports whether s is valid UTF-8 that a log or a terminal can show.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}
