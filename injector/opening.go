package injector

import (
	"io"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// begin finds out what the connection carries: nil means HTTP/1, errTunnel
// anything else, and whatever a caller without an identity says. Meanwhile the
// original destination is being dialled; if that takes long or fails, the head
// of a first request tells where else to go.
func (c *conn) begin() error {
	if c.caller.nobody() {
		c.mode.Store(modeOpaque)
	}
	c.head.reset()
	c.limitHead()
	var at *place // where it goes, once that matters
	for patient := false; ; {
		if c.mode.Load() == modeOpaque && c.hasDialled() {
			return c.becomeTunnel()
		}
		b := c.requests.pending()
		empty := emptyLines(b)
		if at == nil && len(b) > 0 && (empty > 0 || b[0] == '\r' || sniff(b) == undecided) {
			p := c.place()
			at = &p
		}
		if empty > 0 && !at.due() {
			empty = 0 // it may be another protocol's word
		}
		switch sniff(b[empty:]) {
		case http1:
			if c.mode.CompareAndSwap(modeDeciding, modeHTTP) || c.mode.Load() == modeHTTP {
				c.requests.consume(empty)
				return nil
			}
			if done, err := c.head.parse(b); done || err != nil {
				return c.becomeTunnel()
			}
		case notHTTP1:
			if string(b[empty:]) != "\r" || !at.due() { // which may begin an empty line
				return c.becomeTunnel()
			}
		case undecided:
			if len(b) > empty && !patient {
				patient = c.waitForLine(at.closed())
			}
		}
		if err := c.readOpening(); err != nil {
			return err
		}
	}
}

// emptyLines returns how many bytes of empty lines there are at the beginning: some
// clients send them after a body, and so before a first request too (RFC 9112 §2.2).
func emptyLines(b []byte) (n int) {
	for range maxEmptyLines {
		switch {
		case len(b) > n && b[n] == '\n':
			n++
		case len(b) > n+1 && b[n] == '\r' && b[n+1] == '\n':
			n += len("\r\n")
		default:
			return n
		}
	}
	return n
}

// waitForLine says how long the rest of a first line may take: where nothing may pass
// without its token, as long as a head may, which is counted from now on, and it
// returns true; elsewhere a silence is taken for another protocol's.
func (c *conn) waitForLine(closed bool) bool {
	if !closed {
		c.requests.watch.enter(phaseOpening)
		return false
	}
	c.late.Store(false)
	c.requests.watch.enter(phaseHead)
	return true
}

// readOpening waits for more of the first line.
func (c *conn) readOpening() error {
	err := c.requests.fill()
	switch {
	case err == io.EOF:
		c.ended = true
		return c.becomeTunnel()
	case err == errBufferFull:
		return c.refuseOpening(errHeadSize)
	case err != errKicked:
		return err
	case c.hasDialled() && c.dialErr != nil:
		return c.upstreamFailed()
	case c.late.Swap(false):
		return c.refuseOpening(errHeadTime)
	case c.srv.draining.Load() && c.mode.Load() == modeDeciding && len(c.requests.pending()) == 0:
		return errOver
	}
	return nil
}

// refuseOpening refuses what may have become a request.
func (c *conn) refuseOpening(err *refusal) error {
	if !c.mode.CompareAndSwap(modeDeciding, modeHTTP) {
		return c.becomeTunnel()
	}
	return c.refuse(err)
}

// becomeTunnel leaves HTTP aside for good, unless what is no HTTP has no business here.
func (c *conn) becomeTunnel() error {
	c.mode.Store(modeOpaque)
	c.requests.watch.enter(phaseReading)
	if err := c.awaitUpstream(); err != nil {
		return err
	}
	if c.caller.nobody() {
		return errTunnel
	}
	p := c.place()
	if p.closed() {
		return c.refuseProtocol(p.destination)
	}
	if p.listed {
		c.placed = p
	}
	if p.due() && len(c.requests.pending()) > 0 {
		c.warn(warnProtocol, c.caller.name(), "a connection carries what no token can be put into; it goes on without one", "destination", p.destination.Name,
			"address", c.flow.Original.String(), "protocol", foreignProtocolOf(c.requests.pending()).String(), "image", c.flow.Image.String())
	}
	return errTunnel
}

// tunnel relays the client's bytes as they are, while the responses' goroutine
// does the same the other way.
func (c *conn) tunnel() error {
	err := c.requests.move(whole)
	if err == nil {
		c.ended = true
		_ = c.upstream.CloseWrite()
	}
	if _, failed := err.(writeError); failed || err == nil {
		<-c.over // perhaps there is more to receive
	}
	return err
}

// recordTunnel records a connection that was opaque from its beginning, unless
// no byte went over it: clients open connections to have them at hand.
func (c *conn) recordTunnel() {
	if c.recorded.Load() || c.mode.Load() != modeOpaque || c.pipeline.sent.Load() > 0 || !c.requests.used && !c.responses.used || c.dialErr != nil {
		return
	}
	use := telemetry.Use{Outcome: workload.NotHTTP, Reason: c.caller.err}
	switch p := c.placed; {
	case c.caller.nobody():
		use.Outcome = workload.NoIdentity
	case p.listed && c.requests.used:
		use.Anonymous, use.Nearby = workload.AnonymousNotHTTP, p.destination.Name
	}
	c.recordConnection(use)
}

func (c *conn) hasDialled() bool {
	select {
	case <-c.dialled:
		return true
	default:
		return false
	}
}

func (c *conn) isOver() bool { return c.ending.Load() }

// awaitUpstream waits for the upstream, and meanwhile lets failover know where the
// client wants to go.
func (c *conn) awaitUpstream() error {
	if !c.hasDialled() {
		c.tellGoal()
		<-c.dialled
	}
	if c.dialErr != nil {
		return c.upstreamFailed()
	}
	return nil
}

func (c *conn) tellGoal() {
	if c.told {
		return
	}
	c.told = true
	if g := c.goal(); g.destination != nil {
		c.goals <- g
		return
	}
	close(c.goals)
}

// goal returns where the first request goes, if its host is registered at the port of
// the connection, or the zero goal. A caller that is not listed there, whose connect()
// we took, would otherwise be the one that cannot fail over: so it may, but only to
// what is known of the host anyway. Its words have nothing looked up, or else it could
// have any number of names below a wildcard looked up.
func (c *conn) goal() goal {
	h, port := &c.head, c.flow.Original.Port()
	if !h.done || h.form == authorityForm || h.form == foreignForm || h.authority.host == "" || h.authority.port != port {
		return goal{}
	}
	d := c.caller.goesTo(h.authority, port)
	if id := c.caller.identity; d != nil && id != nil && d.Lists(id.Name) {
		return goal{d, h.authority.host, id.Name}
	}
	return goal{d, h.authority.host, ""}
}
