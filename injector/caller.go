package injector

import (
	"errors"
	"fmt"

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
	err      error // why there is no identity, or nil

	at          authority // the destination's key
	destination *workload.Destination
	known       bool // destination is the answer for at
}

var errImageGone = errors.New("the process image that made the connection has exited or executed another program")

// attribute asks who made the connection, and tells the kernel if that is nobody
// we know.
func (c *conn) attribute() {
	c.requests.watch.enter(phaseDeciding)
	defer c.requests.watch.enter(phaseReading)
	if c.identify(); c.caller.nobody() && c.caller.err == nil {
		c.srv.verdicts.Bystander(c.flow)
	}
}

// identify asks who the caller is under the policy of now. Another policy may
// look at facts of the process that the former did not want: so they are asked
// for again, which is cheap where they are known, and again if the policy changed
// in between.
func (c *conn) identify() {
	for policy := c.srv.policies.Current(); c.caller.policy != policy; policy = c.srv.policies.Current() {
		proc, err := c.srv.processes.Attribute(c.decisionContext(), c.flow)
		switch {
		case err == nil:
			c.caller.process = proc
		case c.caller.process == nil:
			c.caller.err = fmt.Errorf("attribute %v: %w", c.flow.Image, err)
			c.srv.warn(warnAttribution, "who made a connection is not known; it gets no token", "image", c.flow.Image.String(), "error", err)
			return
		} // else what was known has to do; whether the image runs is asked before each token
		c.caller.decide(policy)
	}
}

// nobody reports whether no token can ever be due to this caller.
func (c *caller) nobody() bool { return c.identity == nil && c.tie == nil }

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
	c.identity, c.tie, c.err = nil, nil, nil
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

// listedAt reports whether the destination lists the caller, or, for a tie, one
// of the identities that tie.
func (c *caller) listedAt(d *workload.Destination) bool {
	if c.tie == nil {
		return c.identity != nil && d.Lists(c.identity.Name)
	}
	for _, name := range c.tie.Identities {
		if d.Lists(name) {
			return true
		}
	}
	return false
}
