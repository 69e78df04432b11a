package operator

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/token"
)

const (
	maxNameLength = 128 // of an id given by the authority

	// maxTokenLife is how far ahead an ID token may end: the protocol's longest.
	maxTokenLife = 48 * time.Hour
	// clockSkew is what iat, nbf and the far end of exp are allowed, as the protocol
	// allows it to assertions. An exp that has passed has passed.
	clockSkew = time.Minute
	// tokenType is the typ of an ID token, if it has one (RFC 7519 section 5.1).
	tokenType = "JWT"
)

// expectation is what an ID token must say to be the one that was asked for.
type expectation struct {
	audience string // "" for a token without audience
	subject  string // the enrolled workload
	issuer   issuer
	life     time.Duration // how far ahead it may end at most
}

// parseIDToken makes a token of a compact JWT received at this time, with its
// times by this host's clock, if it is what was expected. The signature is not
// verified: the keys would come from where the token came from. Whoever believes
// the token verifies it. Errors wrap token.ErrWrongToken.
func parseIDToken(compact string, want expectation, c *clock, received time.Time) (token.Token, error) {
	m, err := jose.ParseUpTo(jose.MaxIDTokenLength, compact)
	if err != nil {
		return token.Token{}, wrong("%w", err)
	}
	if err := checkHeader(m); err != nil {
		return token.Token{}, err
	}
	claims := m.Stated()
	if err := want.checkNames(claims); err != nil {
		return token.Token{}, err
	}
	issued, expires, err := want.checkTimes(claims, c.at(received))
	if err != nil {
		return token.Token{}, err
	}
	id, err := claims.String("jti")
	if err != nil || !isName(id) {
		id = "" // it would end up in logs and spans
	}
	return token.New(compact, id, c.translate(issued, received), c.translate(expires, received))
}

// checkHeader refuses what no verifier should accept. What else a header must not
// have, such as crit, the parser has refused.
func checkHeader(m *jose.Message) error {
	if !slices.Contains(jose.Algorithms(), m.Algorithm()) {
		return wrong("its alg is %s, which is none of %s", told(m.Algorithm()), strings.Join(jose.Algorithms(), ", "))
	}
	if !m.IsJWT() {
		return wrong("its typ is %s, not %s", told(m.Type()), tokenType)
	}
	return nil
}

// checkNames compares who the token is for, about and from.
func (e expectation) checkNames(claims jose.Claims) error {
	audiences, err := claims.Audiences()
	switch {
	case err != nil:
		return wrong("%w", err)
	case e.audience == "" && len(audiences) > 0:
		return wrong("none was asked for in aud, and it has %s", toldAll(audiences))
	case e.audience != "" && !slices.Equal(audiences, []string{e.audience}):
		return wrong("aud %q alone was asked for, and it has %s", e.audience, toldAll(audiences))
	}
	subject, err := claims.String("sub")
	if err != nil {
		return wrong("%w", err)
	}
	if subject != e.subject {
		return wrong("it is for workload %s (sub), and %s asked", told(subject), e.subject)
	}
	from, err := claims.String("iss")
	if err != nil {
		return wrong("%w", err)
	}
	return e.issuer.check(from)
}

// checkTimes returns when the token was issued and when it expires, both by the
// authority's clock, whose time of now is given.
func (e expectation) checkTimes(claims jose.Claims, now time.Time) (issued, expires time.Time, err error) {
	dates := map[string]time.Time{"iat": now, "nbf": now}
	for _, name := range []string{"exp", "iat", "nbf"} {
		if name != "exp" && !claims.Has(name) {
			continue
		}
		if dates[name], err = claims.Time(name); err != nil {
			return issued, expires, wrong("%w", err)
		}
	}
	issued, expires = dates["iat"], dates["exp"]
	switch latest := now.Add(clockSkew); {
	case !expires.After(now):
		err = wrong("it expired at %s (exp), and now is %s by the authority's clock", date(expires), date(now))
	case expires.After(latest.Add(e.life)):
		err = wrong("it ends at %s (exp), which is more than %v ahead", date(expires), e.life)
	case issued.After(latest):
		err = wrong("it was issued at %s (iat), and now is %s by the authority's clock", date(issued), date(now))
	case dates["nbf"].After(latest):
		err = wrong("it begins at %s (nbf), and now is %s by the authority's clock", date(dates["nbf"]), date(now))
	case !expires.After(issued):
		err = wrong("it ends at %s (exp), not after %s when it was issued (iat)", date(expires), date(issued))
	}
	return issued, expires, err
}

// issuer is whom tokens must be from: the configured one exactly, or else the
// operator that enrolled the workload, or a URL that its base lies below. An
// authority with an issuer URL names that instead of the operator.
type issuer struct {
	configured string // "" if nobody said
	operator   string // id
	base       string
}

func (i issuer) check(from string) error {
	switch {
	case i.configured != "":
		if from != i.configured {
			return wrong("its iss is %s, and LANYARD_ISSUER is %q", told(from), i.configured)
		}
	case from != i.operator && !i.isAbove(from):
		return wrong("its iss is %s, which is neither operator %s, as at enrolment, nor a URL that %s lies below; "+
			"if the authority has another LANYARD_ISSUER, set it here too", told(from), i.operator, i.base)
	}
	return nil
}

// isAbove reports whether a URL is the operator's base, or one that it lies below.
func (i issuer) isAbove(from string) bool {
	if _, err := serverurl.ParseBase("iss", from); err != nil {
		return false
	}
	return strings.HasPrefix(i.base+"/", strings.TrimSuffix(from, "/")+"/")
}

// wrong is an error about a token. It names claims, and what was asked for.
func wrong(format string, values ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{token.ErrWrongToken}, values...)...)
}

// safeWord is what an error repeats of a foreign value: a name or a URL, and too
// short for a part of a token.
var safeWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:/.+_-]{0,63}$`)

func told(value string) string {
	switch {
	case value == "":
		return "absent"
	case safeWord.MatchString(value):
		return fmt.Sprintf("%q", value)
	}
	return "another"
}

func toldAll(values []string) string {
	switch len(values) {
	case 0:
		return "none"
	case 1:
		return told(values[0])
	}
	return fmt.Sprintf("%d", len(values))
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// operatorName is what an operator is called: op1: and a word.
var operatorName = regexp.MustCompile(`^op1:[A-Za-z0-9]+$`)

// CheckIssuer checks the form of a configured issuer: an operator's id, or the URL that
// is the authority's LANYARD_ISSUER; "" is none. Another one could be no token's.
func CheckIssuer(configured string) error {
	if configured == "" || operatorName.MatchString(configured) {
		return nil
	}
	if _, err := serverurl.ParseBase("LANYARD_ISSUER", configured); err != nil || !isWord(configured) {
		return errors.New("LANYARD_ISSUER is neither an http or https URL without user, query and fragment, nor an operator's id (op1:…); write the issuer exactly as the authority has it, or leave it out")
	}
	return nil
}

// isName reports whether an id given by the authority can stand in a log line, a
// claim or a file.
func isName(id string) bool { return len(id) <= maxNameLength && isWord(id) }

// isWord reports whether text is one word of printable ASCII.
func isWord(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
