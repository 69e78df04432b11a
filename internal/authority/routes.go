package authority

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// Paths of the operator API, below the authority's base.
const (
	operatorPath = "/operator"
	registerPath = operatorPath + "/v1/register"
	idTokenPath  = operatorPath + "/v1/id_token"
	invitePath   = operatorPath + "/v1/invite"
	keyPath      = operatorPath + "/v1/key"
	secretPath   = operatorPath + "/v1/secret/{id}"
	jwksPath     = operatorPath + "/.well-known/jwks.json"
)

// endpoint answers one method of one path.
type endpoint func(*http.Request) (reply, error)

// methods are the endpoints of one path.
type methods map[string]endpoint

func (a *Authority) routes() http.Handler {
	mux := http.NewServeMux()
	routes := map[string]methods{
		registerPath: {http.MethodPost: a.register},
		idTokenPath:  {http.MethodPost: a.issueIDToken},
		invitePath:   {http.MethodPost: a.invite},
		keyPath:      {http.MethodPost: a.replaceKey},
		secretPath:   {http.MethodGet: a.readSecret},
		jwksPath:     {http.MethodGet: a.publishKeys},
	}
	routes[resource.ActivityPath] = methods{http.MethodGet: a.admin(a.serveActivity)}
	routes[resource.ActivityVerifyPath] = methods{http.MethodGet: a.admin(a.verifyActivity)}
	a.secrets().mount(a, routes)
	a.tickets().mount(a, routes)
	a.workloads().mount(a, routes)
	a.adminTokens().mount(a, routes)
	a.networkLists().mount(a, routes)
	a.signingKeys().mount(a, routes)
	a.mountKeyVerbs(routes)
	a.ticketFactories().mount(a, routes)
	for path, m := range routes {
		mux.Handle(a.basePath()+path, a.limited(path, m))
	}
	a.mountDiscovery(mux)
	mux.Handle("/healthz", a.plain("/healthz", methods{http.MethodGet: healthy}))
	mux.Handle("/readyz", a.plain("/readyz", methods{http.MethodGet: a.ready}))
	mux.Handle("/metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("/", a.limited("other", nil))
	return mux
}

// basePath is the path of the configured base, mostly "".
func (a *Authority) basePath() string {
	base, err := url.Parse(a.config.URL)
	if err != nil {
		return "" // withDefaults has parsed it
	}
	return strings.TrimRight(base.Path, "/")
}

// limited answers requests within the rate of their source.
func (a *Authority) limited(name string, m methods) http.Handler {
	inner := a.plain(name, m)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait := a.sources.take(a.source(r).addr, a.now()); wait > 0 {
			started := a.now()
			status := a.send(w, r, reply{}, tooManyRequests(wait))
			a.metrics.observe(name, status, a.now().Sub(started))
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// plain picks the endpoint by method, and measures it.
func (a *Authority) plain(name string, m methods) http.Handler {
	allow := allowed(m)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := a.now()
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		var answer reply
		var err error
		switch handle, known := m[method]; {
		case known:
			answer, err = handle(r)
		case len(m) == 0:
			err = &refusal{status: http.StatusNotFound, message: "no such path"}
		default:
			err = &refusal{status: http.StatusMethodNotAllowed, message: "the method must be " + allow, header: map[string]string{"Allow": allow}}
		}
		status := a.send(w, r, answer, err)
		a.metrics.observe(name, status, a.now().Sub(started))
	})
}

func allowed(m methods) string {
	var names []string
	for name := range m {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func healthy(*http.Request) (reply, error) {
	return reply{status: http.StatusOK, body: map[string]string{"status": "ok"}}, nil
}

// ready says whether tokens can be issued: the store answers and takes events, and a
// key is loaded (without one New fails).
func (a *Authority) ready(r *http.Request) (reply, error) {
	if err := a.store.Ready(r.Context()); err != nil {
		a.log.ErrorContext(r.Context(), "not ready", "error", err)
		return reply{}, &refusal{status: http.StatusServiceUnavailable, message: "the database does not answer"}
	}
	return reply{status: http.StatusOK, body: map[string]string{"status": "ready"}}, nil
}

func tooManyRequests(wait time.Duration) *refusal {
	seconds := int(wait/time.Second) + 1
	return &refusal{
		status:  http.StatusTooManyRequests,
		message: "too many requests from this address",
		header:  map[string]string{"Retry-After": strconv.Itoa(seconds)},
	}
}
