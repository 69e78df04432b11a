package operator

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// The typ of what this client signs: neither can be taken for the other, nor for
// a token.
const (
	registrationType = "lanyard-registration+jwt"
	assertionType    = "lanyard-client+jwt"
)

// assertionLife is short of the minute that the protocol allows at most.
const assertionLife = 50 * time.Second

// registrationClaims bind ticket (or workload), key and base together: proof of possession.
type registrationClaims struct {
	Audience     string `json:"aud"`
	IssuedAt     int64  `json:"iat"`
	ID           string `json:"jti"`
	TicketSHA256 string `json:"ticket_sha256,omitempty"` // of a registration
	WorkloadID   string `json:"workload_id,omitempty"`   // of a further key
	Thumbprint   string `json:"jkt"`
}

// assertionClaims are private_key_jwt's (RFC 7523 section 3).
type assertionClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
}

// signer signs as one workload's key.
type signer struct {
	key  *key
	base string
}

// registration returns the proof that goes with a ticket, issued at this time by
// the authority's clock.
func (s *signer) registration(ticket Ticket, at time.Time) (string, error) {
	return s.sign(registrationType, registrationClaims{
		Audience: s.base, IssuedAt: at.Unix(), ID: rand.Text(),
		TicketSHA256: ticket.digest(),
		Thumbprint:   s.key.thumbprint,
	})
}

// succession returns the proof that goes with a further key of the workload's.
func (s *signer) succession(workloadID string, at time.Time) (string, error) {
	return s.sign(registrationType, registrationClaims{
		Audience: s.base, IssuedAt: at.Unix(), ID: rand.Text(),
		WorkloadID: workloadID, Thumbprint: s.key.thumbprint,
	})
}

// assertion returns a bearer assertion that authenticates one request of the
// workload, issued at this time by the authority's clock.
func (s *signer) assertion(workloadID string, at time.Time) (string, error) {
	return s.sign(assertionType, assertionClaims{
		Issuer: workloadID, Subject: workloadID, Audience: s.base,
		IssuedAt: at.Unix(), Expires: at.Add(assertionLife).Unix(), ID: rand.Text(),
	})
}

func (s *signer) sign(typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	headers := jws.NewHeaders()
	for name, value := range map[string]string{jws.TypeKey: typ, jws.KeyIDKey: s.key.thumbprint} {
		if err := headers.Set(name, value); err != nil {
			return "", fmt.Errorf("sign %s: %w", typ, err)
		}
	}
	signed, err := jws.Sign(payload, jws.WithKey(jwa.ES256, s.key.private, jws.WithProtectedHeaders(headers)))
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	return string(signed), nil
}
