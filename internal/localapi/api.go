package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Config is what an API is made of.
type Config struct {
	Log       *slog.Logger
	Key       Key
	Addresses []string // where it listens, as host:port; a request's Host may be one of these hosts
	Callers   Callers  // nil where no caller is ever known
	Tokens    Tokens
	Workload  func(identity string) (Workload, bool)
	Identity  func() string // whose token a caller with the key gets, "" for nobody's
}

// Callers finds out who made a connection to the API: nil is nobody known.
type Callers interface {
	Identify(ctx context.Context, f workload.Flow) (*workload.Identity, error)
}

// Tokens hands out tokens.
type Tokens interface {
	Get(ctx context.Context, r token.Request) (token.Token, error)
}

// Workload is what the authority enrolled for an identity.
type Workload interface {
	Enrol(ctx context.Context) (operator.Enrolment, error)
	Secret(ctx context.Context, id string, refresh bool) (operator.Secret, error)
	Invite(ctx context.Context, factory string) (ticket string, err error)
}

// API answers the calls. Two kinds of caller get something: one with the key, who
// gets the configured identity's; and, over TCP only, a process that the connect
// hook attributed to an identity with local_api: true, who gets its own.
type API struct {
	config Config
	hosts  map[string]bool // what a request's Host may be, besides loopback's names
}

// New returns the API.
func New(config Config) *API {
	hosts := map[string]bool{}
	for _, address := range config.Addresses {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts[strings.ToLower(host)] = true
		}
	}
	return &API{config: config, hosts: hosts}
}

// WorkloadHeader is what a caller without the key must send: a browser or a
// confused proxy would not.
const WorkloadHeader = "Lanyard-Workload"

// call answers a caller that may act for the identity.
type call func(w http.ResponseWriter, r *http.Request, identity string)

// calls are all there are, by the patterns of their requests.
func (a *API) calls() map[string]call {
	return map[string]call{
		"GET /peer/v1/workload/id":      a.workloadID,
		"GET /peer/v1/id_token":         a.idToken,
		"GET /peer/v1/secret/{id}":      a.secret,
		"POST /peer/v1/generate/invite": a.invite,
	}
}

// Calls returns the patterns of all calls, as net/http.ServeMux has them, sorted.
func (a *API) Calls() []string { return slices.Sorted(maps.Keys(a.calls())) }

// Handler serves the API's calls.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, call := range a.calls() {
		mux.HandleFunc(pattern, a.authorised(call))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answerError(w, http.StatusNotFound, "no such call; there are "+strings.Join(a.Calls(), ", "))
	})
	return a.fromHere(mux)
}

// fromHere refuses web pages and proxies, whatever they call. A target in
// absolute form is a proxy's: net/http takes its host for the request's and drops
// the Host field unread.
func (a *API) fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.IsAbs() || !a.hostAllowed(r.Host) || len(r.Header.Values("Origin")) > 0 {
			answerError(w, http.StatusForbidden, "call this API by its own address, and not from a web page")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorised wraps a call: it finds the identity that the caller may act for.
func (a *API) authorised(call call) http.HandlerFunc {
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
func (a *API) hostAllowed(host string) bool {
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

func (a *API) authenticate(r *http.Request) (identity string, no *refusal) {
	fields := r.Header.Values("Authorization")
	if len(fields) > 1 {
		return "", &refusal{http.StatusUnauthorized, "more than one Authorization field"}
	}
	if given, ok := bearer(fields); ok {
		if !a.config.Key.Matches(given) {
			return "", &refusal{http.StatusUnauthorized, "wrong API key"}
		}
		if identity := a.config.Identity(); identity != "" {
			return identity, nil
		}
		return "", &refusal{http.StatusNotFound, "the API key stands for no identity here; name one with local_api: {identity: NAME}"}
	}
	return a.authenticateProcess(r)
}

// bearer returns the credential of the Authorization field, if there is one of that
// scheme (RFC 6750), whose name knows no case (RFC 9110 §11.1).
func bearer(fields []string) (credential string, found bool) {
	if len(fields) == 0 {
		return "", false
	}
	scheme, credential, found := strings.Cut(fields[0], " ")
	return credential, found && strings.EqualFold(scheme, "Bearer")
}

func (a *API) authenticateProcess(r *http.Request) (string, *refusal) {
	flow, known := callerFlow(r.Context())
	if !known || a.config.Callers == nil || r.Header.Get(WorkloadHeader) != "1" {
		return "", &refusal{http.StatusUnauthorized, "missing API key (Authorization: Bearer …)"}
	}
	id, err := a.config.Callers.Identify(r.Context(), flow)
	var tie *workload.AmbiguousError
	switch {
	case errors.As(err, &tie):
		return "", &refusal{http.StatusForbidden, tie.Error()}
	case err != nil:
		a.config.Log.Warn("cannot attribute a caller of the local API", "image", flow.Image, "error", err)
		return "", &refusal{http.StatusUnauthorized, "this process could not be recognised"}
	case id == nil:
		return "", &refusal{http.StatusUnauthorized, "this process has no registered identity"}
	case !id.LocalAPI:
		return "", &refusal{http.StatusForbidden, "identity " + id.Name + " may not fetch its raw token; its configuration has local_api: false"}
	}
	return id.Name, nil
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
