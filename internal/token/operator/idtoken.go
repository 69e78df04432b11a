package operator

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

const (
	maxNameLength = 128 // of an id given by the authority
	// latestDate bounds a NumericDate: the end of the year 9999.
	latestDate = 253402300799
)

// idTokenClaims are the claims that the agent reads of an ID token: when to renew
// it and how to speak of it. Who believes the token verifies it; we do not.
type idTokenClaims struct {
	ID       string   `json:"jti"`
	IssuedAt *float64 `json:"iat"`
	Expires  *float64 `json:"exp"`
}

// parseIDToken makes a token of a compact JWT received at this time, with its
// times by this host's clock.
func parseIDToken(compact string, c *clock, received time.Time) (token.Token, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return token.Token{}, errors.New("parse ID token: not a compact JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token.Token{}, errors.New("parse ID token: its payload is not base64url")
	}
	var claims idTokenClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return token.Token{}, errors.New("parse ID token: its payload is not a JSON object with jti, iat and exp")
	}
	if claims.Expires == nil {
		return token.Token{}, errors.New("parse ID token: it has no exp")
	}
	expires, err := numericDate(*claims.Expires)
	if err != nil {
		return token.Token{}, fmt.Errorf("parse ID token: exp: %w", err)
	}
	issued := received
	if claims.IssuedAt != nil {
		at, err := numericDate(*claims.IssuedAt)
		if err != nil {
			return token.Token{}, fmt.Errorf("parse ID token: iat: %w", err)
		}
		issued = c.translate(at, received)
	}
	id := claims.ID
	if !isName(id) {
		id = "" // it would end up in logs and spans
	}
	return token.New(compact, id, issued, c.translate(expires, received))
}

// numericDate reads RFC 7519's NumericDate, cut to a second.
func numericDate(seconds float64) (time.Time, error) {
	if !(seconds >= 0 && seconds <= latestDate) {
		return time.Time{}, errors.New("not a date")
	}
	return time.Unix(int64(seconds), 0), nil
}

// isName reports whether an id given by the authority can stand in a log line, a
// claim or a file.
func isName(id string) bool { return len(id) <= maxNameLength && isWord(id) }

// isWord reports whether text is one word of printable ASCII.
func isWord(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
