package verify

import (
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
)

// Claims is what a verified token says (RFC 7519 section 4). All of it was read from
// the bytes that the issuer signed. The zero Claims is no token's.
type Claims struct {
	Subject  string   // sub: the workload; never ""
	Issuer   string   // iss, or ""
	Audience []string // aud, or none
	TokenID  string   // jti, or ""
	Tags     []string // extra.tags: what the workload's ticket says of it; or none

	Expires   time.Time // exp
	NotBefore time.Time // nbf, or zero
	Issued    time.Time // iat, or zero

	signed []byte
}

// MarshalJSON returns all of the token's claims, as they were signed.
func (c Claims) MarshalJSON() ([]byte, error) {
	if c.signed == nil {
		return []byte("null"), nil
	}
	return slices.Clone(c.signed), nil
}

// readClaims reads the claims that we know. Those that a token must have are missing
// or wrong, any other may be missing, but not be something else than it should: what
// one reader would pass over, another would take for something.
func readClaims(signed jose.Claims) (Claims, error) {
	c := Claims{signed: signed.JSON()}
	for _, claim := range []struct {
		name     string
		required bool
		read     func() error
	}{
		{"sub", true, text(signed, "sub", &c.Subject)},
		{"exp", true, date(signed, "exp", &c.Expires)},
		{"iss", false, text(signed, "iss", &c.Issuer)},
		{"jti", false, text(signed, "jti", &c.TokenID)},
		{"nbf", false, date(signed, "nbf", &c.NotBefore)},
		{"iat", false, date(signed, "iat", &c.Issued)},
		{"aud", false, func() (err error) { c.Audience, err = signed.Audience(); return err }},
		{"extra", false, func() (err error) { c.Tags, err = readTags(signed); return err }},
	} {
		switch present := signed.Has(claim.name); {
		case !present && claim.required:
			return Claims{}, &Refusal{"the token lacks a claim: " + claim.name}
		case present && claim.read() != nil:
			return Claims{}, &Refusal{"the token has a claim that is not what it must be: " + claim.name}
		}
	}
	return c, nil
}

func text(claims jose.Claims, name string, target *string) func() error {
	return func() (err error) {
		*target, err = claims.String(name)
		return err
	}
}

// date reads a NumericDate, cut to the second, as clocks are compared.
func date(claims jose.Claims, name string, target *time.Time) func() error {
	return func() error {
		at, err := claims.Time(name)
		*target = at.Truncate(time.Second)
		return err
	}
}

func readTags(claims jose.Claims) ([]string, error) {
	extra, err := claims.Object("extra")
	if err != nil || !extra.Has("tags") {
		return nil, err
	}
	return extra.List("tags")
}

// check refuses claims that are not for us, or not now.
func (c Config) check(claims Claims) error {
	now := c.Now()
	switch {
	case !now.Before(claims.Expires.Add(clockSkew)):
		return &Refusal{"the token has expired"}
	case now.Before(claims.NotBefore.Add(-clockSkew)), now.Before(claims.Issued.Add(-clockSkew)):
		return &Refusal{"the token is not valid yet"}
	case !c.AnyAudience && !slices.Contains(claims.Audience, c.Audience):
		return &Refusal{"the token is for another audience"}
	case c.Issuer != "" && claims.Issuer != c.Issuer:
		return &Refusal{"the token is from another issuer"}
	}
	return nil
}
