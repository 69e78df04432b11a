package verify

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwt"
)

// The fields of an answer that say who the caller is. A proxy hands them on.
const (
	FieldWorkload = "X-Lanyard-Workload"
	FieldIssuer   = "X-Lanyard-Issuer"
	FieldAudience = "X-Lanyard-Audience"
	FieldTags     = "X-Lanyard-Tags" // separated by commas
	FieldTokenID  = "X-Lanyard-Token-Id"
	FieldExpires  = "X-Lanyard-Expires" // RFC 3339
)

// ForwardAuth answers a reverse proxy's question whether a request may pass: nginx's
// auth_request, Caddy's and Traefik's forward auth, Envoy's ext_authz over HTTP. It
// is 200 for a valid token, with every identity field, empty where the token says
// nothing, so that a proxy which copies them overwrites whatever its client sent;
// otherwise what Protect answers.
//
// Every path and method is answered alike, since some proxies ask with those of the
// request: a path that is open here would be open there.
func (v *Verifier) ForwardAuth() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.ofRequest(r)
		if err != nil {
			refuse(w, err)
			return
		}
		for field, value := range identityFields(claims) {
			w.Header().Set(field, value)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	})
}

func identityFields(claims jwt.Token) map[string]string {
	return map[string]string{
		FieldWorkload: claims.Subject(),
		FieldIssuer:   claims.Issuer(),
		FieldAudience: strings.Join(claims.Audience(), ","),
		FieldTags:     strings.Join(Tags(claims), ","),
		FieldTokenID:  claims.JwtID(),
		FieldExpires:  claims.Expiration().UTC().Format(time.RFC3339),
	}
}

// Tags returns the tags that the authority has put into a token: extra.tags.
func Tags(claims jwt.Token) []string {
	value, _ := claims.Get("extra")
	text, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var extra struct {
		Tags []string `json:"tags"`
	}
	if json.Unmarshal(text, &extra) != nil {
		return nil
	}
	return extra.Tags
}
