package verify

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The fields of an answer that say who the caller is. A proxy hands them on. Spaces,
// commas, percent signs and whatever is not printable ASCII are percent-encoded.
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

func identityFields(claims Claims) map[string]string {
	return map[string]string{
		FieldWorkload: fieldValue(claims.Subject),
		FieldIssuer:   fieldValue(claims.Issuer),
		FieldAudience: fieldValue(claims.Audience...),
		FieldTags:     fieldValue(claims.Tags...),
		FieldTokenID:  fieldValue(claims.TokenID),
		FieldExpires:  claims.Expires.UTC().Format(time.RFC3339),
	}
}

// fieldValue writes values as a list that every recipient reads alike: bytes that
// would end, change or split a value are percent-encoded (RFC 3986 section 2.1), and
// so is the percent sign, so that no two values are written the same. A comma separates
// values (RFC 9110 section 5.6.1), white space is trimmed and folded, and what is above
// ASCII every recipient decodes as it likes (section 5.5).
func fieldValue(values ...string) string {
	var b strings.Builder
	for i, value := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		for _, c := range []byte(value) {
			if c <= ' ' || c > '~' || c == ',' || c == '%' {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}
