package authority

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/authority/jose"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// keyRequest is the body of POST /operator/v1/key.
type keyRequest struct {
	Key   json.RawMessage `json:"jwk"`
	Proof string          `json:"proof"`
}

type keyResponse struct {
	WorkloadID string `json:"workload_id"`
}

// replaceKey makes another key the one of the workload that asks. The former one
// stops at once. A workload that does not learn the answer asks again, by the new
// key: if that is in force already nothing changes.
func (a *Authority) replaceKey(r *http.Request, who caller) (reply, error) {
	var request keyRequest
	if err := readJSON(r, &request, maxRegisterBytes, false); err != nil {
		return reply{}, err
	}
	key, err := parseOfferedKey(request.Key, request.Proof)
	if err != nil {
		return reply{}, err
	}
	event := a.event(r, kindKey)
	proof, err := a.verifyNewKey(request.Proof, who.Workload.ID, key)
	if err != nil {
		event.Reason = err.Error()
		if err := a.decide(r, who, event); err != nil {
			return reply{}, err
		}
		return reply{}, badRequest("the %s", event.Reason)
	}
	if err := a.exchangeKey(r, who, key, proof, event); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: keyResponse{WorkloadID: who.Workload.ID}}, nil
}

// exchangeKey decides, exchanges the key and records that, in one write.
func (a *Authority) exchangeKey(r *http.Request, who caller, key jose.PublicKey, proof signedOnce, event store.Event) error {
	event.WorkloadID, event.TicketID = who.Workload.ID, who.Ticket.ID
	var refused *refusal
	err := a.store.Write(r.Context(), func(tx *store.Tx) (err error) {
		event.Reason, refused, err = refuseExchange(tx, who, key, proof)
		if err != nil {
			return err
		}
		event.Allowed = refused == nil
		if event.Allowed && key.Thumbprint() != who.Workload.Thumbprint {
			event.Reason = "key " + key.Thumbprint() + " in place of " + who.Workload.Thumbprint
			err = tx.ReplaceWorkloadKey(who.Workload.ID, key.Thumbprint(), key.JWK())
		}
		return errors.Join(err, tx.AppendEvent(event), tx.Contacted(who.Workload, event.At))
	})
	if err == nil && refused != nil {
		a.metrics.refusals.WithLabelValues(event.Kind).Inc()
		return refused
	}
	return err
}

// refuseExchange returns why an exchange is refused, and how, or nil. What it finds
// holds until the write ends: of two requests by one key, one only is let through.
func refuseExchange(tx *store.Tx, who caller, key jose.PublicKey, proof signedOnce) (reason string, refused *refusal, err error) {
	if first, err := tx.SpendID(who.assertion.sender, who.assertion.id, who.assertion.expires); err != nil || !first {
		return "the assertion was used before", refusedAssertion(), err
	}
	now, err := tx.Workload(who.Workload.ID)
	if err != nil || now.Workload.Thumbprint != who.Workload.Thumbprint {
		return "the assertion is by a key that was replaced meanwhile", refusedAssertion(), err
	}
	if first, err := tx.SpendID(proof.sender, proof.id, proof.expires); err != nil || !first {
		return "the proof was used before", badRequest("the proof was used before"), err
	}
	other, err := tx.WorkloadByKey(who.Ticket.ID, key.Thumbprint())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", nil, nil
	case err == nil && other.Workload.ID != who.Workload.ID:
		return "the key is that of workload " + other.Workload.ID, &refusal{status: http.StatusConflict, message: "the key is that of another workload"}, nil
	}
	return "it is the workload's key already", nil, err
}
