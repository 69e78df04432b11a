package injector

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// caller is who made a connection, as far as it is known, with what was found
// out under the policy of the last request. A reload gives another policy, and
// then all of it is found out again.
type caller struct {
	process  *workload.Process // nil if it could not be attributed
	policy   Policy
	identity *workload.Identity
	tie      *workload.AmbiguousError
	err      error // why there is no identity, or none for sure, or nil

	// unproven names the identities that a caller has by what is known of it, while
	// it could not be attributed under this policy: it is no bystander, but might
	// be another one of them, or of more specific ones. Empty and not nil: it has
	// one, and which is not known.
	unproven []string
	fresh    bool // that was found out for the decision to be made now

	at          authority // the destination's key
	destination *workload.Destination
	known       bool // destination is the answer for at
}

var errImageGone = errors.New("the process image that made the connection has exited or executed another program")

// attribute asks who made the connection, and tells the kernel what it does not
// know.
func (c *conn) attribute() {
	c.requests.watch.enter(phaseDeciding)
	defer c.requests.watch.enter(phaseReading)
	c.identify()
	c.caller.fresh = true // the first request's decision has begun
	switch {
	case c.caller.identity != nil && !c.flow.Known:
		c.srv.verdicts.Identified(c.flow, c.caller.identity.Name)
		c.share = c.srv.flows.Charge(c.flow, c.caller.identity.Name)
	case c.caller.nobody() && c.caller.err == nil:
		c.srv.verdicts.Bystander(c.flow)
	}
}

// identify asks who the caller is under the policy of now. Another policy may
// look at facts of the process that the former did not want: so they are asked
// for again, which is cheap where they are known, and again if the policy changed
// in between, or they could not be had for the request before.
func (c *conn) identify() {
	who := &c.caller
	for policy := c.srv.policies.Current(); who.policy != policy || who.unproven != nil && !who.fresh; policy = c.srv.policies.Current() {
		proc, err := c.srv.processes.Attribute(c.decisionContext(), c.flow)
		if err == nil {
			who.process = proc
			who.decide(policy)
			continue
		}
		err = fmt.Errorf("attribute %v: %w", c.flow.Image, err)
		identity := who.name()
		who.makeDo(policy, proc, c.flow, err)
		if who.process == nil || who.unproven != nil {
			c.warn(warnAttribution, identity, "who made a connection is not known; it gets no token", "image", c.flow.Image.String(), "error", err)
			return
		}
	}
}

// makeDo decides with what is known of a caller that could not be attributed. An
// image that was attributed before is what it was; whether it still runs is asked
// before each token. Of another one there is what the kernel said at connect(): its
// ids, and its cgroup if facts tell it. If that alone fits an identity, the caller
// is not one of the bystanders, who pass whatever happens.
func (c *caller) makeDo(policy Policy, facts *workload.Process, f workload.Flow, err error) {
	before := c.names()
	if c.process == nil {
		if facts == nil {
			facts = &workload.Process{Image: f.Image, UID: f.UID, GID: f.GID, CgroupID: f.CgroupID}
		}
		known := caller{process: facts}
		known.decide(policy)
		c.policy, c.known, c.err, c.unproven = policy, false, err, known.names()
		if f.Known && c.unproven == nil {
			c.unproven = []string{} // the kernel remembers that the image was attributed
		}
		return
	}
	if c.decide(policy); c.nobody() && before != nil {
		c.err, c.unproven = err, before // a fact that this policy wants is missing
	}
}

// names are the identities that the caller has, or may have; nil for none.
func (c *caller) names() []string {
	switch {
	case c.tie != nil:
		return c.tie.Identities
	case c.identity != nil:
		return []string{c.identity.Name}
	}
	return c.unproven
}

// nobody reports whether nothing can ever be due to this caller.
func (c *caller) nobody() bool { return c.names() == nil }

// name is the name of the identity, or empty.
func (c *caller) name() string {
	if c.identity == nil {
		return ""
	}
	return c.identity.Name
}

// decide brings the identity up to date with a policy.
func (c *caller) decide(policy Policy) {
	c.policy, c.known = policy, false
	c.identity, c.tie, c.err, c.unproven = nil, nil, nil, nil
	id, err := policy.Identify(c.process)
	switch {
	case err == nil:
		c.identity = id
	case !errors.As(err, &c.tie):
		c.err = err
	}
}

// goesTo returns the registered destination at an authority, or nil.
func (c *caller) goesTo(at authority, port uint16) *workload.Destination {
	if !c.known || c.at != at {
		c.at, c.known = at, true
		c.destination = c.policy.Destination(at.host, port)
	}
	return c.destination
}

// listedAt reports whether the destination lists the caller, or one of the
// identities that tie, or are not proven.
func (c *caller) listedAt(d *workload.Destination) bool {
	switch {
	case c.tie != nil:
		return slices.ContainsFunc(c.tie.Identities, d.Lists)
	case c.identity != nil:
		return d.Lists(c.identity.Name)
	}
	return c.unproven != nil && (len(c.unproven) == 0 || slices.ContainsFunc(c.unproven, d.Lists))
}
