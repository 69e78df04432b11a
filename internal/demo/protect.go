package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

const (
	// keysMaxAge is how long the issuer's keys are used before they are fetched
	// again, where the issuer does not say.
	keysMaxAge = 15 * time.Minute
	// clockSkew is how far the issuer's clock and ours may differ.
	clockSkew = 30 * time.Second
)

// claimsKey is the context key of a request's claims.
type claimsKey struct{}

// Claims returns what the token of a request that came through Protect says of its
// caller.
func Claims(ctx context.Context) jwt.Token {
	claims, _ := ctx.Value(claimsKey{}).(jwt.Token)
	return claims
}

// Protection says whose tokens a server accepts.
type Protection struct {
	KeysURL  string       // where the issuer publishes its keys (JWKS)
	Audience string       // that a token must be for
	Client   *http.Client // fetches the keys; http.DefaultClient when nil
}

// Protect passes a request on to next if it carries a valid ID token, and answers
// 401 otherwise (RFC 6750). The issuer's keys are fetched when they are first
// needed and kept fresh until ctx ends.
func Protect(ctx context.Context, p Protection, next http.Handler) (http.Handler, error) {
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	keys := jwk.NewCache(ctx)
	if err := keys.Register(p.KeysURL, jwk.WithMinRefreshInterval(keysMaxAge), jwk.WithHTTPClient(client)); err != nil {
		return nil, fmt.Errorf("watch keys at %s: %w", p.KeysURL, err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, found := bearer(r)
		if !found {
			refuse(w, "", "no bearer token")
			return
		}
		set, err := keys.Get(r.Context(), p.KeysURL)
		if err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]any{"error": "the issuer's keys cannot be fetched"})
			return
		}
		claims, err := jwt.ParseString(value, jwt.WithKeySet(set, jws.WithInferAlgorithmFromKey(false)),
			jwt.WithAudience(p.Audience), jwt.WithRequiredClaim(jwt.ExpirationKey), jwt.WithAcceptableSkew(clockSkew))
		if err != nil {
			refuse(w, "invalid_token", whyInvalid(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	}), nil
}

// NewProtectedAPI returns a server that answers a request with a valid token with
// the claims it saw, and any other as Protect does.
func NewProtectedAPI(ctx context.Context, jwksURL, audience string) (http.Handler, error) {
	return Protect(ctx, Protection{KeysURL: jwksURL, Audience: audience}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]any{"message": "welcome", "claims": Claims(r.Context())})
	}))
}

// bearer returns the token of a request's one Authorization field.
func bearer(r *http.Request) (value string, found bool) {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", false
	}
	scheme, value, found := strings.Cut(fields[0], " ")
	return strings.TrimSpace(value), found && strings.EqualFold(scheme, "Bearer")
}

// whyInvalid says what is wrong with a token without repeating any of it.
func whyInvalid(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired()):
		return "the token has expired"
	case errors.Is(err, jwt.ErrInvalidAudience()):
		return "the token is for another audience"
	case errors.Is(err, jwt.ErrTokenNotYetValid()), errors.Is(err, jwt.ErrInvalidIssuedAt()):
		return "the token is not valid yet"
	case jwt.IsValidationError(err):
		return "the token lacks a claim"
	}
	return "the token is not signed by this issuer"
}

func refuse(w http.ResponseWriter, code, description string) {
	challenge := `Bearer realm="protected API"`
	if code != "" {
		challenge += fmt.Sprintf(`, error=%q, error_description=%q`, code, description)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	answer(w, http.StatusUnauthorized, map[string]any{"error": description})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away is its own business
}
