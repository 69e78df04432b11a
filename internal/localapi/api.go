package localapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/fairshare"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Config is what an API is made of.
type Config struct {
	Log       *slog.Logger
	Key       func() (Key, error)
	Addresses []string // where it listens, as host:port; a request's Host may be one of these hosts
	Callers   Callers  // nil where no caller is ever known
	Tokens    Tokens
	Workload  func(identity string) (Workload, bool)
	Identity  func() string // whose token a caller with the key gets, "" for nobody's
	Count     func(Result)  // of each call, as it is answered; may be nil
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
	config   Config
	hosts    map[string]bool // what a request's Host may be, besides loopback's names
	guesses  *guesses
	warnings *logbudget.Budget
	// Looking for a caller's identity, and the calls themselves, are done for so many
	// at once, with a share for each party and each identity.
	looks *fairshare.Limiter[workload.Party]
	turns *fairshare.Limiter[string]
}

const (
	looksAtOnce = 16
	lookLimit   = 5 * time.Second
	callsAtOnce = 32
	callLimit   = 15 * time.Second // with the turn that it waits for
)

// New returns the API.
func New(config Config) *API {
	hosts := map[string]bool{}
	for _, address := range config.Addresses {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts[strings.ToLower(host)] = true
		}
	}
	if config.Count == nil {
		config.Count = func(Result) {}
	}
	return &API{
		config: config, hosts: hosts, guesses: newGuesses(), warnings: logbudget.New(logbudget.Config{}),
		looks: fairshare.NewNestedLimiter[workload.Place, workload.Party](looksAtOnce),
		turns: fairshare.NewLimiter[string](callsAtOnce),
	}
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
		a.refuse(w, &refusal{http.StatusNotFound, ResultNoSuchCall, "no such call; there are " + strings.Join(a.Calls(), ", ")})
	})
	return a.fromHere(mux)
}

// fromHere refuses web pages and proxies, whatever they call. A target in
// absolute form is a proxy's: net/http takes its host for the request's and drops
// the Host field unread.
func (a *API) fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.IsAbs() || !a.hostAllowed(r.Host) || len(r.Header.Values("Origin")) > 0 {
			a.refuse(w, &refusal{http.StatusForbidden, ResultForeign, "call this API by its own address, and not from a web page"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorised wraps a call: it finds the identity that the caller may act for, and has
// the call wait for its turn among that identity's.
func (a *API) authorised(call call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		identity, refusal := a.authenticate(r)
		if refusal != nil {
			a.refuse(w, refusal)
			return
		}
		callerOf(r.Context()).recognise(identity)
		ctx, cancel := context.WithTimeout(r.Context(), callLimit)
		defer cancel()
		done, err := a.turns.Acquire(ctx, identity)
		if err != nil {
			a.answerError(w, ResultBusy, http.StatusServiceUnavailable, "too many calls for this identity are under way")
			return
		}
		defer done()
		call(w, r.WithContext(ctx), identity)
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

// bearer returns the credential of the Authorization field, if there is one of that
// scheme (RFC 6750), whose name knows no case (RFC 9110 §11.1).
func bearer(fields []string) (credential string, found bool) {
	if len(fields) == 0 {
		return "", false
	}
	scheme, credential, found := strings.Cut(fields[0], " ")
	return credential, found && strings.EqualFold(scheme, "Bearer")
}

func (a *API) answer(w http.ResponseWriter, body any) {
	a.config.Count(ResultAnswered)
	write(w, http.StatusOK, body)
}

func (a *API) answerError(w http.ResponseWriter, result Result, status int, message string) {
	a.config.Count(result)
	write(w, status, struct {
		Code    int32  `json:"code"`
		Message string `json:"message"`
	}{int32(status), message})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}
