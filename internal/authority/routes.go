package authority

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/openapi"
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

// routes are what is served, by path.
type routes struct {
	api    map[string]methods // below the authority's base
	issuer map[string]methods // below the issuer, if one is configured
	own    map[string]methods // at the root, for who runs the authority: not limited by source
	kinds  []openapi.Kind     // of resources, in api
}

func (a *Authority) routes() routes {
	r := routes{
		api: map[string]methods{
			registerPath:                {http.MethodPost: a.register},
			idTokenPath:                 {http.MethodPost: a.workload(kindIDToken, a.issueIDToken)},
			invitePath:                  {http.MethodPost: a.workload(kindInvite, a.invite)},
			keyPath:                     {http.MethodPost: a.workload(kindKey, a.replaceKey)},
			secretPath:                  {http.MethodGet: a.workload(kindSecret, a.readSecret)},
			jwksPath:                    {http.MethodGet: a.publishKeys},
			documentPath:                {http.MethodGet: a.serveDocument},
			resource.ActivityPath:       {http.MethodGet: a.admin(a.serveActivity)},
			resource.ActivityVerifyPath: {http.MethodGet: a.admin(a.verifyActivity)},
		},
		own: map[string]methods{
			"/healthz": {http.MethodGet: healthy},
			"/readyz":  {http.MethodGet: a.ready},
			"/metrics": {http.MethodGet: a.serveMetrics},
		},
		issuer: a.discoveryRoutes(),
	}
	a.secrets().mount(a, &r)
	a.tickets().mount(a, &r)
	a.workloads().mount(a, &r)
	a.adminTokens().mount(a, &r)
	a.networkLists().mount(a, &r)
	a.signingKeys().mount(a, &r)
	a.mountKeyVerbs(r.api)
	a.ticketFactories().mount(a, &r)
	return r
}

func (a *Authority) serveRoutes(r routes) http.Handler {
	mux := http.NewServeMux()
	for path, m := range r.api {
		mux.Handle(a.basePath()+path, a.limited(path, m))
	}
	for path, m := range r.issuer {
		mux.Handle(a.issuerPath()+path, a.limited(path, m))
	}
	for path, m := range r.own {
		mux.Handle(path, a.plain(path, m))
	}
	mux.Handle("/", a.limited("other", nil))
	return mux
}

// basePath is the path of the configured base, mostly "".
func (a *Authority) basePath() string { return pathOf(a.config.URL) }

func pathOf(base string) string {
	parsed, err := url.Parse(base)
	if err != nil {
		return "" // withDefaults has parsed it
	}
	return strings.TrimRight(parsed.Path, "/")
}

// limited answers requests within the rate of their source.
func (a *Authority) limited(name string, m methods) http.Handler {
	inner := a.plain(name, m)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.allowSource(r); err != nil {
			started := a.now()
			status := a.send(w, r, reply{}, err)
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

func (a *Authority) serveMetrics(*http.Request) (reply, error) {
	return reply{status: http.StatusOK, handler: promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{})}, nil
}
