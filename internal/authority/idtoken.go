package authority

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Limits of a request for an ID token, and of the token.
const (
	maxIDTokenBytes   = 16 << 10
	maxAudiences      = 8
	maxAudienceLength = 512
	defaultIDTokenTTL = time.Hour
	maxIDTokenTTL     = 48 * time.Hour // retired keys are published for as long
	minMaxTokenTTL    = time.Minute    // of the configured maximum
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
	// Signed before the write, for which others wait, and again in it only if what the
	// token says has changed.
	token, v, err := a.makeIDToken(who.Enrolled, request.Audience, ttl)
	if err != nil {
		return reply{}, err
	}
	err = a.decide(r, who, event, func(_ *store.Tx, now store.Enrolled, event *store.Event) (*refusal, error) {
		if !sameVersion(now, who.Enrolled) {
			if token, v, err = a.makeIDToken(now, request.Audience, ttl); err != nil {
				return nil, err
			}
		}
		event.TokenID = token.id
		return refusedBy(v, event), nil
	})
	if err != nil {
		return reply{}, err
	}
	a.metrics.tokens.Inc()
	return reply{status: http.StatusOK, body: idTokenResponse{JWT: token.compact}}, nil
}

// sameVersion reports whether neither the workload nor its ticket was edited between.
func sameVersion(a, b store.Enrolled) bool {
	return a.Workload.Version == b.Workload.Version && a.Ticket.Version == b.Ticket.Version
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

// idToken is a signed ID token, and its jti.
type idToken struct{ compact, id string }

// makeIDToken signs a token for the workload, or says which control refuses one.
func (a *Authority) makeIDToken(who store.Enrolled, audience []string, ttl time.Duration) (idToken, *violation, error) {
	if v := checkAudiences(who.Ticket, audience); v != nil {
		return idToken{}, v, nil
	}
	issued := a.now()
	expires, v := tokenExpiry(who, issued, min(ttl, a.config.MaxTokenTTL))
	if v != nil {
		return idToken{}, v, nil
	}
	token, err := a.signIDToken(who, audience, issued.Unix(), expires)
	return token, nil, err
}

// tokenExpiry is exp, in Unix time, of a token that is issued then for as long as ttl:
// no later than what the token rests on, which is the ticket's expiry, the workload's
// end and the ticket's own maximum. It names the control that leaves no whole second.
func tokenExpiry(who store.Enrolled, issued time.Time, ttl time.Duration) (int64, *violation) {
	if most := who.Ticket.MaxTokenTTL; most > 0 {
		ttl = min(ttl, most)
	}
	expires := issued.Unix() + int64(ttl/time.Second)
	var workloadEnd time.Time
	if life := who.Ticket.WorkloadTTL; life > 0 {
		workloadEnd = who.Workload.CreatedAt.Add(life)
	}
	for _, end := range []struct {
		control string
		at      time.Time
	}{{controlExpiry, who.Ticket.ExpiresAt}, {controlWorkloadTTL, workloadEnd}} {
		if end.at.IsZero() || end.at.Unix() >= expires {
			continue
		}
		if expires = end.at.Unix(); expires <= issued.Unix() {
			return 0, &violation{end.control, "less than a second is left until " + end.at.UTC().Format(time.RFC3339Nano)}
		}
	}
	return expires, nil
}

func (a *Authority) signIDToken(who store.Enrolled, audience []string, issued, expires int64) (idToken, error) {
	id, err := randomID(a.random, prefixJWT)
	if err != nil {
		return idToken{}, err
	}
	compact, err := a.keys.Sign(typeIDToken, idTokenClaims{
		Audience: append([]string{}, audience...), // [] rather than null
		Expires:  expires,
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
	return idToken{compact, id}, err
}

// publishKeys serves the public halves of the ID-token keys.
func (a *Authority) publishKeys(*http.Request) (reply, error) {
	return reply{
		status: http.StatusOK,
		body:   json.RawMessage(a.keys.JWKS()),
		header: map[string]string{"Cache-Control": jwksCacheControl},
	}, nil
}
