package injector

import (
	"io"

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
	for {
		if c.mode.Load() == modeOpaque && c.hasDialled() {
			return c.becomeTunnel()
		}
		switch sniff(c.requests.pending()) {
		case http1:
			if c.mode.CompareAndSwap(modeDeciding, modeHTTP) || c.mode.Load() == modeHTTP {
				return nil
			}
			if done, err := c.head.parse(c.requests.pending()); done || err != nil {
				return c.becomeTunnel()
			}
		case notHTTP1:
			return c.becomeTunnel()
		case undecided:
			if len(c.requests.pending()) > 0 {
				c.requests.watch.enter(phaseOpening)
			}
		}
		switch err := c.readOpening(); {
		case err == io.EOF:
			return c.becomeTunnel()
		case err != nil:
			return err
		}
	}
}

// readOpening waits for more of the first line.
func (c *conn) readOpening() error {
	err := c.requests.fill()
	switch {
	case err == io.EOF:
		c.ended = true
		return err
	case err != errKicked:
		return err
	case c.hasDialled() && c.dialErr != nil:
		return c.upstreamFailed()
	case c.srv.draining.Load() && c.mode.Load() == modeDeciding && len(c.requests.pending()) == 0:
		return errOver
	}
	return nil
}

// becomeTunnel leaves HTTP aside for good.
func (c *conn) becomeTunnel() error {
	c.mode.Store(modeOpaque)
	c.requests.watch.enter(phaseReading)
	if err := c.awaitUpstream(); err != nil {
		return err
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
	if c.mode.Load() != modeOpaque || c.pipeline.sent.Load() > 0 || !c.requests.used && !c.responses.used || c.dialErr != nil {
		return
	}
	outcome := workload.NotHTTP
	if c.caller.nobody() {
		outcome = workload.NoIdentity
	}
	c.recordConnection(outcome, c.caller.err)
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
