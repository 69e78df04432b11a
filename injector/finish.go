package injector

import (
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// endsHere reports whether no request is sent on this connection any more.
func (c *conn) endsHere() bool {
	m := c.mode.Load()
	return m == modeLast || m == modeBroken
}

// notSent gives up a request of which nothing was sent: its client finds the
// connection closed, and may send it again on another one.
func (c *conn) notSent(ex *exchange, why error) error {
	ex.withdraw(workload.NotSent, why)
	ex.use.Refusal, ex.use.Anonymous, ex.use.Nearby = "", "", "" // it neither left nor was refused
	return c.leave(ex)
}

// leave ends the connection with a request that is neither sent nor answered, after
// what is answered before it.
func (c *conn) leave(ex *exchange) error {
	if ex.use.Outcome == workload.BadRequest {
		c.rest = restUnknown
	}
	c.finish()
	c.recordUnsent(ex)
	return errEnded
}

// recordUnsent records a request that nobody decided about, with its destination.
func (c *conn) recordUnsent(ex *exchange) {
	if at := c.head.authority; at.host != "" {
		if d := c.caller.goesTo(at, c.flow.Original.Port()); d != nil {
			ex.use.Destination = d.Name
		}
	}
	c.record(ex)
}

// finish waits for what the client can still receive: the end of the response, or of
// what is relayed to its end, or until nothing of it has come for a while. That its
// client has sent another request means that for the client it ended before.
func (c *conn) finish() {
	c.waiting.Store(waitsAside)
	defer c.waiting.Store(notWaiting)
	tick := time.NewTicker(quietTime)
	defer tick.Stop()
	before, _ := sent(c.client)
	for c.pipeline.outstanding() > 0 {
		select {
		case <-c.over:
			return
		case <-c.wake:
		case <-tick.C:
			now, waiting := sent(c.client)
			if now == before && !waiting {
				return
			}
			before = now
		}
	}
}
