package localapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// maxBody bounds the body of a call.
const maxBody = 4 << 10

// workloadID serves the id that the authority gave to the identity's workload.
func (a *API) workloadID(w http.ResponseWriter, r *http.Request, identity string) {
	source, ok := a.config.Workload(identity)
	if !ok {
		a.answerFailure(w, token.ErrNoSource)
		return
	}
	enrolment, err := source.Enrol(r.Context())
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	a.answer(w, map[string]string{"id": enrolment.WorkloadID})
}

// idToken serves the identity's ID token: by default one without audience, as in
// the original; ?audience= asks for one.
func (a *API) idToken(w http.ResponseWriter, r *http.Request, identity string) {
	audiences := r.URL.Query()["audience"]
	if len(audiences) > 1 {
		a.answerError(w, ResultBadRequest, http.StatusBadRequest, "ask for one audience")
		return
	}
	t, err := a.config.Tokens.Get(r.Context(), token.Request{Identity: identity, Audience: strings.Join(audiences, "")})
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	a.answer(w, map[string]string{"jwt_id_token": t.Reveal()})
}

// secretBody is a secret as the original has it; one that does not expire has a
// null there.
type secretBody struct {
	ID          string     `json:"id"`
	Content     string     `json:"content"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Description string     `json:"description"`
}

// secret serves a secret; ?force_refresh=true passes by what is in memory.
func (a *API) secret(w http.ResponseWriter, r *http.Request, identity string) {
	source, ok := a.config.Workload(identity)
	if !ok {
		a.answerFailure(w, token.ErrNoSource)
		return
	}
	refresh := false
	switch r.URL.Query().Get("force_refresh") {
	case "", "false":
	case "true":
		refresh = true
	default:
		a.answerError(w, ResultBadRequest, http.StatusBadRequest, "force_refresh is true or false")
		return
	}
	s, err := source.Secret(r.Context(), r.PathValue("id"), refresh)
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	body := secretBody{ID: s.ID, Content: s.Reveal(), CreatedAt: s.CreatedAt, Description: s.Description}
	if !s.ExpiresAt.IsZero() {
		body.ExpiresAt = &s.ExpiresAt
	}
	a.answer(w, body)
}

// invite serves a ticket that was minted from a factory.
func (a *API) invite(w http.ResponseWriter, r *http.Request, identity string) {
	source, ok := a.config.Workload(identity)
	if !ok {
		a.answerFailure(w, token.ErrNoSource)
		return
	}
	var request struct {
		TicketFactoryID string `json:"ticket_factory_id"`
	}
	if err := readObject(http.MaxBytesReader(w, r.Body, maxBody), &request); err != nil || request.TicketFactoryID == "" {
		a.answerError(w, ResultBadRequest, http.StatusBadRequest, `the body is not a JSON object like {"ticket_factory_id": "…"}`)
		return
	}
	ticket, err := source.Invite(r.Context(), request.TicketFactoryID)
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	a.answer(w, map[string]string{"ticket_id": ticket})
}

// readObject reads one JSON value and nothing after it. Members that we do not
// know are left alone, as a program written for another version may send them.
func readObject(body io.Reader, out any) error {
	decoder := json.NewDecoder(body)
	if err := decoder.Decode(out); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func (a *API) answerFailure(w http.ResponseWriter, err error) {
	var refused *token.RefusedError
	var invalid *operator.InvalidError
	switch {
	case errors.As(err, &refused):
		a.answerError(w, ResultRefused, http.StatusForbidden, refused.Message)
	case errors.As(err, &invalid):
		a.answerError(w, ResultBadRequest, http.StatusBadRequest, invalid.Message)
	case errors.Is(err, token.ErrNoSource):
		a.answerError(w, ResultRefused, http.StatusNotFound, "this identity has no tokens")
	case errors.Is(err, operator.ErrNotFound):
		a.answerError(w, ResultRefused, http.StatusNotFound, "there is none of that id, or not for this workload")
	default:
		sayWhen(w, err)
		a.answerError(w, ResultUnavailable, http.StatusServiceUnavailable, err.Error())
	}
}

// sayWhen tells the caller when the authority can be asked again, where that is known.
func sayWhen(w http.ResponseWriter, err error) {
	var busy *token.BusyError
	if !errors.As(err, &busy) {
		return
	}
	seconds := max(time.Until(busy.Until), 0) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)+1))
}
