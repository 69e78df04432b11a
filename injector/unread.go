package injector

import (
	"errors"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// What the strict parser refuses is refused where a token may be due to this caller on
// this connection: a request that can be read in two ways might be one to a registered
// host. Elsewhere nobody asked us to judge: it is relayed unread from there on.

// harmless reports whether no token can be due to the caller on this connection.
func (c *conn) harmless() bool { return !c.place().due() }

// refuseOrRelay refuses a request because of err, or relays it unread where no token
// can be due. The exchange has the outcome that it is then recorded with.
func (c *conn) refuseOrRelay(ex *exchange, err error) error {
	var bad *refusal
	if errors.As(err, &bad) && c.harmless() {
		return c.relayUnread(ex, bad)
	}
	return c.refuseExchange(ex, err)
}

// relayUnread relays a request, and all that follows it, as it is. Earlier responses
// are awaited: until then they are told apart. If the connection ends with them, the
// request is not sent.
func (c *conn) relayUnread(ex *exchange, why *refusal) error {
	if err := c.awaitUpstream(); err != nil {
		ex.release()
		return err
	}
	c.rest = restUnknown
	if !c.awaitTurn(c.pipeline.sent.Load()) || c.aborted.Load() || !c.mode.CompareAndSwap(modeHTTP, modeOpaque) {
		if c.endsHere() {
			return c.notSent(ex, errEnds)
		}
		return c.notSent(ex, errUpstreamGone)
	}
	ex.use.Reason, ex.use.Refusal = why, why.code
	if p := c.place(); p.listed && ex.anonymous == "" {
		ex.anonymous, ex.nearby = workload.AnonymousDoubtful, p.destination.Name
	}
	ex.use.Anonymous, ex.use.Nearby = ex.anonymous, ex.nearby
	c.record(ex)
	return errTunnel
}

// relayBodyUnread relays the rest of request n, of which a part was sent, and all that
// follows it. The request is recorded when its response is complete, or the connection
// ends. Nothing is injected after it, and so the connection need not end with a response
// that came early, or whose end is in doubt.
func (c *conn) relayBodyUnread(n uint32, why *refusal) error {
	c.rest, c.unread = restUnknown, why
	switch {
	case c.halted.Load(): // its client has the answer, and asks for no more
		c.await(n)
		return errEnded
	case !c.awaitTurn(n-1) && c.isOver():
		return errEnded
	}
	c.mode.Store(modeOpaque)
	return errTunnel
}
