//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// localAPI is the API that processes of this host fetch raw tokens from, as the
// original client has it (paths under /peer/v1). Two kinds of caller get
// something: one with the API key, who gets the configured identity's; and, over
// TCP only, a process that the connect hook attributed to an identity with
// local_api: true, who gets its own.
type localAPI struct {
	log      *slog.Logger
	key      apiKey
	hosts    map[string]bool // what a request's Host may be, besides loopback's names
	callers  callers
	tokens   tokenGetter
	ids      workloadIDs
	identity func() string // whose token a caller with the key gets, "" for nobody's
}

// callers finds out who made a connection to the local API.
type callers interface {
	identify(ctx context.Context, f workload.Flow) (*workload.Identity, error)
}

type tokenGetter interface {
	Get(ctx context.Context, r token.Request) (token.Token, error)
}

// workloadIDs knows the ids that the authority gave to identities.
type workloadIDs interface {
	WorkloadID(ctx context.Context, identity string) (string, error)
}

// workloadHeader is what a caller without the key must send: a browser or a
// confused proxy would not.
const workloadHeader = "Lanyard-Workload"

// handler serves the API's calls.
func (a *localAPI) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /peer/v1/workload/id", a.authorised(a.workloadID))
	mux.HandleFunc("GET /peer/v1/id_token", a.authorised(a.idToken))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answerError(w, http.StatusNotFound, "no such call; see /peer/v1/id_token and /peer/v1/workload/id")
	})
	return a.fromHere(mux)
}

// fromHere refuses web pages and proxies, whatever they call. A target in
// absolute form is a proxy's: net/http takes its host for the request's and drops
// the Host field unread.
func (a *localAPI) fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.IsAbs() || !a.hostAllowed(r.Host) || len(r.Header.Values("Origin")) > 0 {
			answerError(w, http.StatusForbidden, "call this API by its own address, and not from a web page")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorised wraps a call: it finds the identity that the caller may act for.
func (a *localAPI) authorised(call func(w http.ResponseWriter, r *http.Request, identity string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		identity, refusal := a.authenticate(r)
		if refusal != nil {
			answerError(w, refusal.status, refusal.message)
			return
		}
		call(w, r, identity)
	}
}

// hostAllowed keeps out web pages that had their name resolve to loopback.
func (a *localAPI) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if inner, ok := strings.CutPrefix(host, "["); ok {
		name = strings.TrimSuffix(inner, "]")
	}
	name = strings.ToLower(name)
	switch name {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return a.hosts[name]
}

type refusal struct {
	status  int
	message string
}

func (a *localAPI) authenticate(r *http.Request) (identity string, no *refusal) {
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if !a.key.matches(given) {
			return "", &refusal{http.StatusUnauthorized, "wrong API key"}
		}
		if identity := a.identity(); identity != "" {
			return identity, nil
		}
		return "", &refusal{http.StatusNotFound, "the API key stands for no identity here; name one with local_api: {identity: NAME}"}
	}
	return a.authenticateProcess(r)
}

func (a *localAPI) authenticateProcess(r *http.Request) (string, *refusal) {
	flow, known := callerFlow(r.Context())
	if !known || r.Header.Get(workloadHeader) != "1" {
		return "", &refusal{http.StatusUnauthorized, "missing API key (Authorization: Bearer …)"}
	}
	id, err := a.callers.identify(r.Context(), flow)
	var tie *workload.AmbiguousError
	switch {
	case errors.As(err, &tie):
		return "", &refusal{http.StatusForbidden, tie.Error()}
	case err != nil:
		a.log.Warn("cannot attribute a caller of the local API", "image", flow.Image, "error", err)
		return "", &refusal{http.StatusUnauthorized, "this process could not be recognised"}
	case id == nil:
		return "", &refusal{http.StatusUnauthorized, "this process has no registered identity"}
	case !id.LocalAPI:
		return "", &refusal{http.StatusForbidden, "identity " + id.Name + " may not fetch its raw token; its configuration has local_api: false"}
	}
	return id.Name, nil
}

func (a *localAPI) workloadID(w http.ResponseWriter, r *http.Request, identity string) {
	id, err := a.ids.WorkloadID(r.Context(), identity)
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"id": id})
}

// idToken serves the identity's ID token: by default one without audience, as in
// the original; ?audience= asks for one.
func (a *localAPI) idToken(w http.ResponseWriter, r *http.Request, identity string) {
	t, err := a.tokens.Get(r.Context(), token.Request{Identity: identity, Audience: r.URL.Query().Get("audience")})
	if err != nil {
		a.answerFailure(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"jwt_id_token": t.Reveal()})
}

func (a *localAPI) answerFailure(w http.ResponseWriter, err error) {
	var refused *token.RefusedError
	switch {
	case errors.As(err, &refused):
		answerError(w, http.StatusForbidden, refused.Message)
	case errors.Is(err, token.ErrNoSource):
		answerError(w, http.StatusNotFound, "this identity has no tokens")
	default:
		answerError(w, http.StatusServiceUnavailable, err.Error())
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}

func answerError(w http.ResponseWriter, status int, message string) {
	answer(w, status, struct {
		Code    int32  `json:"code"`
		Message string `json:"message"`
	}{int32(status), message})
}
