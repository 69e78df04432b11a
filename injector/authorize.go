package injector

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// authorize is the product in one function: kernel event → attribution →
// identity → token → injection. It decides what happens to the request in
// c.head, b being its bytes, and leaves the token, if one is due, in ex. A
// problem means that the request is answered here and goes nowhere.
func (c *conn) authorize(ctx context.Context, ex *exchange, b []byte) *problem {
	flow := &c.flow  // kernel event: bound to the accepted socket (server.go)
	who := &c.caller // attribution: once for a connection (caller.go)
	c.identify()     // identity: again only after a reload
	who.fresh = false
	ex.use.Identity = who.name()
	due, outcome, err := c.due(ctx, ex, b) // is a token due here at all?
	ex.use.Outcome, ex.use.Reason = outcome, err
	if !due {
		return c.refusal(ex)
	}
	if err := c.unsure(); err != nil {
		return c.fail(ex, workload.TokenUnavailable, err)
	}
	if who.tie != nil {
		return c.fail(ex, workload.IdentityAmbiguous, who.tie)
	}
	ex.request = token.Request{Identity: who.identity.Name, Audience: who.destination.Audience}
	tok, err := c.srv.tokens.Get(ctx, ex.request) // token
	if err == nil && tok.IsZero() {
		err = errNoToken
	}
	if err != nil {
		return c.fail(ex, workload.TokenUnavailable, err)
	}
	if !c.srv.processes.Current(flow.Image) { // it may have taken its time
		return c.fail(ex, workload.TokenUnavailable, errImageGone)
	}
	ex.token = tok // injection: send puts it into the head (rewrite.go)
	ex.use.Outcome, ex.use.Audience = workload.Injected, ex.request.Audience
	ex.use.TokenID, ex.use.Expires = tok.ID(), tok.Expires()
	return nil
}

var (
	errNoToken            = errors.New("the token source answered without a token")
	errPort               = errors.New("the request names another port than the connection went to")
	errCredentialsRefused = errors.New("the program sent an Authorization of its own")
)

// unsure says why the caller is not known for sure to be who made the connection, or
// returns nil: it could not be attributed, or its image has ended. It is no
// bystander then, so that a closed destination gets no request of it without its
// token.
func (c *conn) unsure() error {
	switch {
	case c.caller.unproven != nil:
		return c.caller.err
	case !c.srv.processes.Current(c.flow.Image):
		return errImageGone
	}
	return nil
}

// due says whether a token is due to the request, and if not, what else it is.
// The order is the contract: each line may assume the ones above it.
func (c *conn) due(ctx context.Context, ex *exchange, b []byte) (bool, workload.Outcome, error) {
	who, h := &c.caller, &c.head
	if who.process == nil && who.unproven == nil {
		return false, workload.NoIdentity, who.err
	}
	if h.form == authorityForm {
		c.leaves(ex, workload.AnonymousConnect)
		return false, workload.Untouched, nil
	}
	if h.authority.host == "" {
		c.leaves(ex, workload.AnonymousNoHost)
		return false, workload.NoDestination, nil
	}
	d := who.goesTo(h.authority, c.flow.Original.Port())
	if d == nil {
		c.leaves(ex, workload.AnonymousUnknownHost)
		c.tellUnknownHost(ex)
		return false, workload.NoDestination, nil
	}
	ex.use.Destination = d.Name
	if !who.listedAt(d) {
		ex.anonymous = workload.AnonymousNotListed
		return false, workload.NoIdentity, who.err
	}
	ex.strip = d.Enforce
	if ex.anonymous = outsideRule(d, h, b); ex.anonymous != "" {
		return false, workload.Untouched, nil
	}
	switch {
	case !d.Enforce:
		ex.anonymous = workload.AnonymousObserved
		if err := c.unsure(); err != nil {
			return false, workload.NoIdentity, err
		}
		return false, workload.Observed, nil
	case h.credentials > 0 && d.ExistingAuthorization == workload.KeepAuthorization:
		ex.anonymous = workload.AnonymousOwn
		return false, workload.Untouched, nil
	}
	if err := c.verify(ctx, d); err != nil {
		ex.strip = false
		ex.anonymous = workload.AnonymousUnverified
		if errors.Is(err, errPort) {
			ex.anonymous = workload.AnonymousPort
		}
		return false, workload.DestinationUnverified, err
	}
	if h.credentials > 0 && d.ExistingAuthorization == workload.RefuseAuthorization {
		return false, workload.Refused, errCredentialsRefused
	}
	return true, "", nil
}

// leaves notes why a request that is to no registered host goes out without a token,
// if it goes to the address of a destination that lists its caller.
func (c *conn) leaves(ex *exchange, why workload.Anonymous) {
	if p := c.nearby(); p.listed {
		ex.anonymous, ex.nearby = why, p.destination.Name
	}
}

// outsideRule says why the rule does not apply to method, target and path, or "".
func outsideRule(d *workload.Destination, h *head, b []byte) workload.Anonymous {
	switch {
	case h.form == foreignForm:
		return workload.AnonymousScheme
	case echoes(h.method.of(b)):
		return workload.AnonymousTrace
	case len(d.Methods) > 0 && !slices.ContainsFunc(d.Methods, func(m string) bool { return h.is(b, m) }):
		return workload.AnonymousMethod
	}
	path := h.path.of(b)
	if h.form == absoluteForm {
		path = pathOfURL(path)
	}
	return outsidePaths(d.Paths, path)
}

// echoes reports whether a server may send the request's head back to the program:
// TRACE, in any case since some servers do not mind it, and what IIS calls TRACK.
func echoes(method []byte) bool { return isName(method, "trace") || isName(method, "track") }

// verify reports whether the upstream is the host that the request names, and
// served by whom its destination says: the application's word alone is not enough.
func (c *conn) verify(ctx context.Context, d *workload.Destination) error {
	at := c.head.authority
	err := errPort
	if at.port == c.flow.Original.Port() {
		err = c.srv.verifier.Verify(ctx, d, at.host, c.peer)
	}
	if err == nil && !d.ServedBy.IsZero() {
		err = c.srv.servers.ServedBy(ctx, c.flow, d.ServedBy, localOf(c.upstream), c.peer)
	}
	if err != nil {
		err = fmt.Errorf("verify that %v is %s: %w", c.peer, at.host, err)
		c.warnAt(d, warnUnverified, c.caller.name(), "a request names a registered destination on a connection that is not known to lead there; it goes on without a token",
			"destination", d.Name, "host", at.host, "peer", c.peer.String(), "image", c.flow.Image.String(), "error", err)
	}
	return err
}

// fail ends a request whose identity or token is missing as its destination says.
func (c *conn) fail(ex *exchange, outcome workload.Outcome, err error) *problem {
	ex.use.Outcome, ex.use.Reason = outcome, err
	d := c.caller.destination
	c.warnAt(d, failureKind(outcome, err), c.caller.name(), "a request gets no token", "outcome", string(outcome),
		"destination", d.Name, "on_failure", string(d.OnFailure), "image", c.flow.Image.String(), "error", err)
	if d.OnFailure == workload.FailOpen {
		ex.anonymous = failedFor(outcome, ex)
		return nil
	}
	if outcome == workload.IdentityAmbiguous {
		return problemAmbiguous(c.caller.tie, d)
	}
	if ex.request.Identity == "" || errors.Is(err, errImageGone) {
		return problemUnsure(d)
	}
	return problemToken(ex.request, d)
}

// failedFor says why a request goes out without a token where on_failure is open.
func failedFor(outcome workload.Outcome, ex *exchange) workload.Anonymous {
	switch {
	case outcome == workload.IdentityAmbiguous:
		return workload.AnonymousAmbiguous
	case ex.request.Identity == "" || errors.Is(ex.use.Reason, errImageGone):
		return workload.AnonymousUnknownCaller
	}
	return workload.AnonymousNoToken
}

func (c *conn) refusal(ex *exchange) *problem {
	if ex.use.Outcome == workload.Refused {
		return problemRefused(c.caller.destination)
	}
	return nil
}
