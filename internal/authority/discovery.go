package authority

import (
	"net/http"
	"net/url"
	"strings"
)

// Paths below the issuer.
const (
	discoveryPath  = "/.well-known/openid-configuration"
	issuerKeysPath = "/.well-known/jwks.json"
)

// discovery is the provider metadata of OpenID Connect Discovery 1.0 section 3, as
// far as it fits an issuer that nobody logs in at: there are no endpoints for that.
type discovery struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Scopes        []string `json:"scopes_supported"`
	Claims        []string `json:"claims_supported"`
}

// mountDiscovery serves the metadata, and the keys beside it, below the configured
// issuer: a verifier needs to reach nothing else.
func (a *Authority) mountDiscovery(mux *http.ServeMux) {
	if a.config.Issuer == "" {
		return
	}
	issuer, err := url.Parse(a.config.Issuer)
	if err != nil {
		return // withDefaults has parsed it
	}
	below := strings.TrimRight(issuer.Path, "/")
	mux.Handle(below+discoveryPath, a.limited(discoveryPath, methods{http.MethodGet: a.discover}))
	if below != a.basePath()+operatorPath { // there the keys are already
		mux.Handle(below+issuerKeysPath, a.limited(issuerKeysPath, methods{http.MethodGet: a.publishKeys}))
	}
}

func (a *Authority) discover(*http.Request) (reply, error) {
	return reply{
		status: http.StatusOK,
		body: discovery{
			Issuer:        a.config.Issuer,
			JWKSURI:       strings.TrimRight(a.config.Issuer, "/") + issuerKeysPath,
			ResponseTypes: []string{"id_token"},
			SubjectTypes:  []string{"public"},
			Algorithms:    a.keys.Algorithms(),
			Scopes:        []string{"openid"},
			Claims:        []string{"aud", "exp", "extra", "iat", "iss", "jti", "nbf", "sub"},
		},
		header: map[string]string{"Cache-Control": jwksCacheControl},
	}, nil
}
