package authority

import (
	"net/http"
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

// discoveryRoutes are the metadata, and the keys beside it, below the configured
// issuer: a verifier needs to reach nothing else.
func (a *Authority) discoveryRoutes() map[string]methods {
	if a.config.Issuer == "" {
		return nil
	}
	routes := map[string]methods{discoveryPath: {http.MethodGet: a.discover}}
	if a.issuerPath() != a.basePath()+operatorPath { // there the keys are already
		routes[issuerKeysPath] = methods{http.MethodGet: a.publishKeys}
	}
	return routes
}

// issuerPath is the path of the configured issuer, mostly "".
func (a *Authority) issuerPath() string { return pathOf(a.config.Issuer) }

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
