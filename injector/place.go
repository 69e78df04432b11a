package injector

import (
	"github.com/lanyardhq/lanyard/internal/workload"
)

// place is what the configuration says of the address that a connection goes to,
// for its caller: whose it is, by what is known of addresses now. Where it is that
// of several destinations, it is the one that asks for most.
type place struct {
	destination *workload.Destination // nil for none
	listed      bool                  // it lists the caller
}

// due reports whether a token may be due to what is sent there.
func (p place) due() bool { return p.listed && p.destination.Enforce }

// closed reports whether nothing may go there without its token.
func (p place) closed() bool { return p.due() && p.destination.OnFailure == workload.FailClosed }

// rank orders what places ask for.
func (p place) rank() int {
	switch {
	case p.closed():
		return 4
	case p.due():
		return 3
	case p.listed:
		return 2
	case p.destination != nil:
		return 1
	}
	return 0
}

// place looks where the connection goes, under the policy of now. It looks at every
// destination with the port, and so is for what happens once in a connection.
func (c *conn) place() place {
	defer c.requests.watch.enter(c.requests.watch.enter(phaseDeciding))
	c.identify()
	var best place
	if c.caller.nobody() {
		return best
	}
	for _, d := range c.caller.policy.AtPort(c.flow.Original.Port()) {
		p := place{d, c.caller.listedAt(d)}
		if p.rank() > best.rank() && c.srv.verifier.Knows(d, c.flow.Original) && c.mayServe(d) {
			best = p
		}
	}
	return best
}

// mayServe reports whether the far end may be the destination's: it is not, where
// that says who serves it and somebody else does.
func (c *conn) mayServe(d *workload.Destination) bool {
	if d.ServedBy.IsZero() || !c.hasDialled() || c.dialErr != nil {
		return true
	}
	return c.srv.servers.ServedBy(c.decisionContext(), c.flow, d.ServedBy, localOf(c.upstream), c.peer) == nil
}

// nearby is place, remembered for as long as the policy is the same: for what every
// request of a connection asks.
func (c *conn) nearby() place {
	if c.placedBy != c.caller.policy {
		c.placed = c.place()
		c.placedBy = c.caller.policy
	}
	return c.placed
}
