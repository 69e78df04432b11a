package authority

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
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
	var unproven string
	if err != nil {
		unproven = err.Error()
	}
	err = a.decide(r, who, event, func(tx *store.Tx, now store.Enrolled, event *store.Event) (*refusal, error) {
		if unproven != "" {
			event.Reason = unproven
			return badRequest("the %s", unproven), nil
		}
		return exchangeKey(tx, now, key, proof, event)
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: keyResponse{WorkloadID: who.Workload.ID}}, nil
}

// exchangeKey exchanges the key, or refuses to and says why in the event. What it finds
// holds until the write ends: of two requests by one key, one only is let through.
func exchangeKey(tx *store.Tx, now store.Enrolled, key jose.PublicKey, proof signedOnce, event *store.Event) (*refusal, error) {
	if first, err := tx.SpendID(proof.sender, proof.id, proof.expires); err != nil || !first {
		event.Reason = "the proof was used before"
		return badRequest("the proof was used before"), err
	}
	other, err := tx.WorkloadByKey(now.Ticket.ID, key.Thumbprint())
	switch {
	case errors.Is(err, store.ErrNotFound):
		event.Reason = "key " + key.Thumbprint() + " in place of " + now.Workload.Thumbprint
		return nil, tx.ReplaceWorkloadKey(now.Workload.ID, key.Thumbprint(), key.JWK())
	case err != nil:
		return nil, err
	case other.Workload.ID != now.Workload.ID:
		event.Reason = "the key is that of workload " + other.Workload.ID
		return &refusal{status: http.StatusConflict, message: "the key is that of another workload"}, nil
	}
	event.Reason = "it is the workload's key already"
	return nil, nil
}
