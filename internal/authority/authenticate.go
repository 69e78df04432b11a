package authority

import (
	"errors"
	"net/http"
	"strings"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// caller is an authenticated workload. Its assertion is not spent yet: that goes
// into the write that records what was decided.
type caller struct {
	store.Enrolled // as it was when the request came; see decision
	assertion      signedOnce
}

// refusedAssertion is the one answer to every assertion that is not accepted. A
// client whose clock is wrong sees that by the answer's Date field.
func refusedAssertion() *refusal {
	return unauthorized("the client assertion was not accepted")
}

// workloadEndpoint answers a workload that is authenticated.
type workloadEndpoint func(*http.Request, caller) (reply, error)

// workload lets workloads to the endpoint, each assertion once: also where the request
// turns out to be malformed.
func (a *Authority) workload(kind string, inner workloadEndpoint) endpoint {
	return func(r *http.Request) (reply, error) {
		event := a.event(r, kind)
		event.Resource = secretAskedFor(r)
		who, err := a.authenticate(r, event)
		if err != nil {
			return reply{}, err
		}
		answer, err := inner(r, who)
		a.settle(who.assertion, err)
		return answer, err
	}
}

// authenticate finds out which workload signed the request's assertion, and refuses
// it if a control does now: the rest of the request need not be read. What it lets
// through is decided by decide, anew. Who calls it settles the assertion.
func (a *Authority) authenticate(r *http.Request, event store.Event) (caller, error) {
	who, reason, err := a.identify(r)
	if err != nil {
		return caller{}, err
	}
	if reason != "" {
		event.Resource = "" // a stranger may have named anything
		a.refuseUnauthenticated(r, event, reason)
		return caller{}, refusedAssertion()
	}
	used, err := a.allowWorkload(who.Workload.ID, who.assertion)
	if err != nil {
		return caller{}, err
	}
	if used {
		event.WorkloadID, event.TicketID = who.Workload.ID, who.Ticket.ID
		a.refuseUnauthenticated(r, event, "the assertion was used before")
		return caller{}, refusedAssertion()
	}
	v, err := checkContact(a.store.Read(r.Context()), who.Enrolled, a.source(r), event.At)
	if err == nil && v != nil {
		err = a.forbid(r, who, event, v)
	}
	if err != nil {
		a.settle(who.assertion, err)
		return caller{}, err
	}
	return who, nil
}

func (a *Authority) identify(r *http.Request) (who caller, reason string, err error) {
	compact, ok := bearer(r)
	if !ok {
		return caller{}, "no bearer assertion", nil
	}
	message, err := jose.Parse(compact)
	if err != nil {
		return caller{}, err.Error(), nil
	}
	issuer, err := message.Unverified("iss")
	if err != nil || !hasForm(issuer, prefixWorkload, idLength) {
		return caller{}, "assertion: iss is no workload id", nil
	}
	enrolled, err := a.store.Read(r.Context()).Workload(issuer)
	if errors.Is(err, store.ErrNotFound) {
		return caller{}, "assertion: no such workload", nil
	}
	if err != nil {
		return caller{}, "", err
	}
	key, err := a.keyOf(enrolled.Workload)
	if err != nil {
		return caller{}, "", err
	}
	once, err := a.verifyAssertion(message, issuer, key)
	if err != nil {
		// Not the workload's id in the log: anybody could have named it.
		return caller{}, err.Error(), nil
	}
	return caller{Enrolled: enrolled, assertion: once}, "", nil
}

// maxParsedKeys bounds the workloads' keys that are kept parsed: to read one anew
// costs as much as to verify with it.
const maxParsedKeys = 10000

// keyOf returns a workload's key.
func (a *Authority) keyOf(w store.Workload) (jose.PublicKey, error) {
	if key, found := a.parsedKeys.get(w.JWK); found {
		return key, nil
	}
	key, err := jose.ParsePublicKey([]byte(w.JWK))
	if err == nil {
		a.parsedKeys.put(w.JWK, key)
	}
	return key, err
}

// bearer returns the credential of the request's only Authorization field.
func bearer(r *http.Request) (string, bool) {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", false
	}
	scheme, credential, found := strings.Cut(fields[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return credential, credential != "" && !strings.ContainsAny(credential, " \t,")
}
