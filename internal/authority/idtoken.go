package authority

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Limits of a request for an ID token.
const (
	maxIDTokenBytes   = 16 << 10
	maxAudiences      = 8
	maxAudienceLength = 512
	defaultIDTokenTTL = time.Hour
	maxIDTokenTTL     = 48 * time.Hour
)

// typeIDToken is the header typ of ID tokens.
const typeIDToken = "JWT"

// jwksCacheControl lets verifiers keep the keys for keyring.JWKSMaxAge. A next key
// is published longer than that before it signs.
const jwksCacheControl = "public, max-age=600"

// idTokenRequest is the body of POST /operator/v1/id_token.
type idTokenRequest struct {
	Audience   []string `json:"audience"`
	TTLSeconds *int64   `json:"ttl_seconds"`
}

type idTokenResponse struct {
	JWT string `json:"jwt_id_token"`
}

// idTokenClaims are the claims of an ID token, in the protocol's order.
type idTokenClaims struct {
	Audience  []string   `json:"aud"`
	Expires   int64      `json:"exp"`
	Extra     extraClaim `json:"extra"`
	IssuedAt  int64      `json:"iat"`
	Issuer    string     `json:"iss"`
	ID        string     `json:"jti"`
	NotBefore int64      `json:"nbf"`
	Subject   string     `json:"sub"`
}

// extraClaim holds what the authority knows of the workload. IDs are verified
// ones only; what the workload says of itself is Claimed.
type extraClaim struct {
	Actions struct{}          `json:"actions"`
	Claimed map[string]string `json:"claimed,omitempty"`
	IDs     map[string]string `json:"ids"`
	Tags    []string          `json:"tags"`
}

// issueIDToken signs an ID token for the workload that asks.
func (a *Authority) issueIDToken(r *http.Request, who caller) (reply, error) {
	var request idTokenRequest
	if err := readJSON(r, &request, maxIDTokenBytes, true); err != nil {
		return reply{}, err
	}
	ttl, err := checkIDTokenRequest(request)
	if err != nil {
		return reply{}, err
	}
	event := a.event(r, kindIDToken)
	event.Audiences = request.Audience
	if v := checkAudiences(who.Ticket, request.Audience); v != nil {
		return reply{}, a.forbid(r, who, event, v)
	}
	compact, tokenID, err := a.signIDToken(who.Enrolled, request.Audience, event.At, ttl)
	if err != nil {
		return reply{}, err
	}
	event.Allowed, event.TokenID = true, tokenID
	if err := a.decide(r, who, event); err != nil {
		return reply{}, err
	}
	a.metrics.tokens.Inc()
	return reply{status: http.StatusOK, body: idTokenResponse{JWT: compact}}, nil
}

func checkIDTokenRequest(request idTokenRequest) (time.Duration, error) {
	if len(request.Audience) > maxAudiences {
		return 0, badRequest(`member "audience" has more than %d entries`, maxAudiences)
	}
	for i, audience := range request.Audience {
		if !isAudience(audience) {
			return 0, badRequest(`member "audience": an entry is not 1 to %d printable bytes without white space`, maxAudienceLength)
		}
		if slices.Contains(request.Audience[:i], audience) {
			return 0, badRequest(`member "audience": an entry occurs twice`)
		}
	}
	if request.TTLSeconds == nil {
		return defaultIDTokenTTL, nil
	}
	// Compared as seconds: a huge number must not overflow a duration.
	if seconds := *request.TTLSeconds; seconds < 1 || seconds > int64(maxIDTokenTTL/time.Second) {
		return 0, badRequest(`member "ttl_seconds" is not between 1 and %d`, int64(maxIDTokenTTL/time.Second))
	}
	return time.Duration(*request.TTLSeconds) * time.Second, nil
}

func isAudience(s string) bool {
	return s != "" && len(s) <= maxAudienceLength && isPrintable(s) && !strings.ContainsAny(s, " ")
}

func (a *Authority) signIDToken(who store.Enrolled, audience []string, now time.Time, ttl time.Duration) (compact, id string, err error) {
	id, err = randomID(a.random, prefixJWT)
	if err != nil {
		return "", "", err
	}
	issued := now.Unix()
	compact, err = a.keys.Sign(typeIDToken, idTokenClaims{
		Audience: append([]string{}, audience...), // [] rather than null
		Expires:  issued + int64(ttl/time.Second),
		Extra: extraClaim{
			Claimed: who.Workload.Claimed,
			IDs:     map[string]string{},
			Tags:    append([]string{}, who.Ticket.Tags...),
		},
		IssuedAt:  issued,
		Issuer:    a.Issuer(),
		ID:        id,
		NotBefore: issued,
		Subject:   who.Workload.ID,
	})
	return compact, id, err
}

// publishKeys serves the public halves of the ID-token keys.
func (a *Authority) publishKeys(*http.Request) (reply, error) {
	return reply{
		status: http.StatusOK,
		body:   json.RawMessage(a.keys.JWKS()),
		header: map[string]string{"Cache-Control": jwksCacheControl},
	}, nil
}
