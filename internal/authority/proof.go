package authority

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// Types (header typ) of what workloads sign. A registration, of a workload or of a
// further key, is ours alone. Of a client assertion RFC 7523 says nothing, so that
// what common libraries write is accepted too; its claims, and its key, keep it apart
// from everything else.
const typeRegistration = "lanyard-registration+jwt"

var assertionTypes = []string{"lanyard-client+jwt", "client-authentication+jwt", "JWT", ""}

// Time limits of proofs and assertions.
const (
	clockSkew        = 60 * time.Second // between a client's clock and ours
	maxAssertionLife = 60 * time.Second // exp after iat
	maxJTILength     = 128
)

// signedOnce is what of a proof or an assertion must be remembered so that it is
// accepted once.
type signedOnce struct {
	sender  string
	id      string    // jti
	expires time.Time // when it would be refused for its age anyway
}

// key tells it from all others.
func (s signedOnce) key() string { return s.sender + "\x00" + s.id }

// verifyRegistration checks a proof of possession: that whoever holds key wants to
// enrol that key here, now, with that ticket. Its errors are for the activity
// log, not for the caller.
func (a *Authority) verifyRegistration(proof, ticket string, key jose.PublicKey) (signedOnce, error) {
	return a.verifyProof(proof, key, "ticket_sha256", jose.Digest([]byte(ticket)))
}

// verifyNewKey checks a proof of possession: that whoever holds key wants it to be
// that workload's, here and now. Its errors are for the activity log.
func (a *Authority) verifyNewKey(proof, workloadID string, key jose.PublicKey) (signedOnce, error) {
	return a.verifyProof(proof, key, "workload_id", workloadID)
}

// verifyProof checks a proof of possession that one claim binds to what it is for.
func (a *Authority) verifyProof(proof string, key jose.PublicKey, claim, value string) (signedOnce, error) {
	message, err := jose.Parse(proof)
	if err != nil {
		return signedOnce{}, err
	}
	if message.Type() != typeRegistration {
		return signedOnce{}, errors.New("proof: typ is not " + typeRegistration)
	}
	claims, err := message.Verify(key)
	if err != nil {
		return signedOnce{}, err
	}
	for name, want := range map[string]string{"aud": a.operatorBase, claim: value, "jkt": key.Thumbprint()} {
		if got, err := claims.String(name); err != nil || got != want {
			return signedOnce{}, fmt.Errorf("proof: claim %q does not fit", name)
		}
	}
	issued, err := claims.Time("iat")
	if err != nil {
		return signedOnce{}, fmt.Errorf("proof: %w", err)
	}
	if a.now().Sub(issued).Abs() > clockSkew {
		return signedOnce{}, fmt.Errorf("proof: issued %s away from now; is a clock wrong?", roundAge(a.now().Sub(issued)))
	}
	if err := a.checkIssuedSinceRestore(issued); err != nil {
		return signedOnce{}, fmt.Errorf("proof: %w", err)
	}
	id, err := usableJTI(claims)
	if err != nil {
		return signedOnce{}, fmt.Errorf("proof: %w", err)
	}
	return signedOnce{sender: "registration " + key.Thumbprint(), id: id, expires: issued.Add(clockSkew)}, nil
}

// verifyAssertion checks a client assertion (RFC 7523 section 3) by the
// workload's key. Its errors are for the activity log.
func (a *Authority) verifyAssertion(message *jose.Message, workloadID string, key jose.PublicKey) (signedOnce, error) {
	if !slices.Contains(assertionTypes, message.Type()) {
		return signedOnce{}, errors.New("assertion: typ is that of something else")
	}
	claims, err := message.Verify(key)
	if err != nil {
		return signedOnce{}, err
	}
	for name, want := range map[string]string{"iss": workloadID, "sub": workloadID, "aud": a.operatorBase} {
		if got, err := claims.String(name); err != nil || got != want {
			return signedOnce{}, fmt.Errorf("assertion: claim %q does not fit", name)
		}
	}
	expires, err := a.checkAssertionTimes(claims)
	if err != nil {
		return signedOnce{}, fmt.Errorf("assertion: %w", err)
	}
	id, err := usableJTI(claims)
	if err != nil {
		return signedOnce{}, fmt.Errorf("assertion: %w", err)
	}
	return signedOnce{sender: "assertion " + workloadID, id: id, expires: expires.Add(clockSkew)}, nil
}

func (a *Authority) checkAssertionTimes(claims jose.Claims) (expires time.Time, err error) {
	issued, err := claims.Time("iat")
	if err != nil {
		return time.Time{}, err
	}
	expires, err = claims.Time("exp")
	if err != nil {
		return time.Time{}, err
	}
	now := a.now()
	switch life := expires.Sub(issued); {
	case life <= 0 || life > maxAssertionLife:
		return time.Time{}, fmt.Errorf("exp is %s after iat", roundAge(life))
	case issued.After(now.Add(clockSkew)):
		return time.Time{}, fmt.Errorf("issued %s in the future; is a clock wrong?", roundAge(issued.Sub(now)))
	case !now.Before(expires.Add(clockSkew)):
		return time.Time{}, fmt.Errorf("expired %s ago; is a clock wrong?", roundAge(now.Sub(expires)))
	}
	if err := a.checkIssuedSinceRestore(issued); err != nil {
		return time.Time{}, err
	}
	if claims.Has("nbf") {
		notBefore, err := claims.Time("nbf")
		if err != nil {
			return time.Time{}, err
		}
		if notBefore.After(now.Add(clockSkew)) {
			return time.Time{}, errors.New("not valid yet")
		}
	}
	return expires, nil
}

// checkIssuedSinceRestore refuses what may have been used between a backup and its
// restore. Times of issue are whole seconds, as a rule, so that of the second of the
// restore everything is refused.
func (a *Authority) checkIssuedSinceRestore(issued time.Time) error {
	if !issued.After(a.assertionsAfter) {
		return errors.New("issued before a backup was restored at " + a.assertionsAfter.Format(time.RFC3339))
	}
	return nil
}

// assertionsAfter returns when a backup was restored, the zero time if none was.
func assertionsAfter(q store.Queries) (time.Time, error) {
	text, err := q.Setting(settingAssertionsAfter)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("read setting %s: %w; the database was changed", settingAssertionsAfter, err)
	}
	return at, nil
}

func usableJTI(claims jose.Claims) (string, error) {
	id, err := claims.String("jti")
	if err == nil && len(id) > maxJTILength {
		err = fmt.Errorf("claim \"jti\" is longer than %d bytes", maxJTILength)
	}
	return id, err
}

func roundAge(d time.Duration) time.Duration { return d.Round(time.Second) }
