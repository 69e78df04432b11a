package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// claimsKey is the context key of a request's claims.
type claimsKey struct{}

// FromContext returns what the token of a request that came through Protect says of
// its caller; of any other request it is false.
func FromContext(ctx context.Context) (Claims, bool) {
	claims, found := ctx.Value(claimsKey{}).(Claims)
	return claims, found
}

// Protect passes a request on to next if it carries a valid ID token, and answers
// 401 otherwise (RFC 6750), or 503 where the issuer's keys cannot be had.
func (v *Verifier) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.ofRequest(r)
		if err != nil {
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	})
}

// errNoToken is a request without credentials, which RFC 6750 §3.1 answers without
// an error code.
var errNoToken = &Refusal{"no bearer token"}

func (v *Verifier) ofRequest(r *http.Request) (Claims, error) {
	compact, found := bearer(r)
	if !found {
		return Claims{}, errNoToken
	}
	return v.Verify(r.Context(), compact)
}

// bearer returns the token of a request's one Authorization field: behind the scheme
// and spaces (RFC 9110 section 11.4).
func bearer(r *http.Request) (value string, found bool) {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", false
	}
	scheme, value, found := strings.Cut(fields[0], " ")
	return strings.TrimLeft(value, " "), found && strings.EqualFold(scheme, "Bearer")
}

func refuse(w http.ResponseWriter, err error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		say(w, http.StatusServiceUnavailable, ErrKeys.Error())
		return
	}
	challenge := `Bearer realm="protected API"`
	if refusal != errNoToken {
		challenge += fmt.Sprintf(`, error="invalid_token", error_description=%q`, refusal.Description)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	say(w, http.StatusUnauthorized, refusal.Description)
}

func say(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // a client that went away is its own business
}
