package localapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

type refusal struct {
	status  int
	result  Result
	message string
}

// refuse answers a caller that may act for nobody, and ends its connection: what it
// sends besides is not read, and the next try costs it a new one.
func (a *API) refuse(w http.ResponseWriter, no *refusal) {
	// Not every ResponseWriter has a connection.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	w.Header().Set("Connection", "close")
	a.answerError(w, no.result, no.status, no.message)
}

func (a *API) authenticate(r *http.Request) (identity string, no *refusal) {
	fields := r.Header.Values("Authorization")
	if len(fields) > 1 {
		return "", &refusal{http.StatusUnauthorized, ResultWrongKey, "more than one Authorization field"}
	}
	if given, ok := bearer(fields); ok {
		return a.authenticateKey(r.Context(), given)
	}
	return a.authenticateProcess(r)
}

// authenticateKey looks at a key, when it is its caller's turn.
func (a *API) authenticateKey(ctx context.Context, given string) (identity string, no *refusal) {
	by := callerOf(ctx)
	if by.proven == "" { // who had the right key may be wrong once
		if err := a.guesses.wait(ctx, by.party); err != nil {
			return "", &refusal{http.StatusServiceUnavailable, ResultBusy, "the caller has gone"}
		}
	}
	key, err := a.config.Key()
	if err != nil {
		return "", &refusal{http.StatusServiceUnavailable, ResultNoKeyFile, "the API key cannot be used; the log and /readyz say why"}
	}
	if !key.Matches(given) {
		by.proven = ""
		a.guesses.wrong(by.party, time.Now())
		a.warnings.Warn(a.config.Log, "wrong key", by.source(), "a caller of the local API has a wrong key", "from", by.String())
		return "", &refusal{http.StatusUnauthorized, ResultWrongKey, "wrong API key"}
	}
	identity = a.config.Identity()
	if identity == "" {
		return "", &refusal{http.StatusNotFound, ResultNoIdentity, "the API key stands for no identity here; name one with local_api: {identity: NAME}"}
	}
	by.proven = identity
	return identity, nil
}

func (a *API) authenticateProcess(r *http.Request) (string, *refusal) {
	by := callerOf(r.Context())
	if by.flow == nil || a.config.Callers == nil || r.Header.Get(WorkloadHeader) != "1" {
		return "", &refusal{http.StatusUnauthorized, ResultNoKey, "missing API key (Authorization: Bearer …)"}
	}
	id, err := a.identify(r.Context(), by)
	var tie *workload.AmbiguousError
	switch {
	case errors.As(err, &tie):
		return "", &refusal{http.StatusForbidden, ResultNotAllowed, tie.Error()}
	case errors.Is(err, errBusy):
		return "", &refusal{http.StatusServiceUnavailable, ResultBusy, "too many callers of this user are being looked at"}
	case err != nil:
		a.warnings.Warn(a.config.Log, "attribution", by.source(), "cannot attribute a caller of the local API", "image", by.flow.Image, "error", err)
		return "", &refusal{http.StatusUnauthorized, ResultNotRecognised, "this process could not be recognised"}
	case id == nil:
		return "", &refusal{http.StatusUnauthorized, ResultNoIdentity, "this process has no registered identity"}
	case !id.LocalAPI:
		return "", &refusal{http.StatusForbidden, ResultNotAllowed, "identity " + id.Name + " may not fetch its raw token; its configuration has local_api: false"}
	}
	return id.Name, nil
}

// errBusy says that a caller's turn to be looked at did not come.
var errBusy = errors.New("too many callers are being looked at")

// identify finds out whose a caller is, within lookLimit and its party's share.
func (a *API) identify(ctx context.Context, by *caller) (*workload.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	done, err := a.looks.Acquire(ctx, by.party)
	if err != nil {
		return nil, errBusy
	}
	defer done()
	return a.config.Callers.Identify(ctx, *by.flow)
}
