package injector

import "github.com/lanyardhq/lanyard/internal/workload"

// rest says what the bytes of a client are that are pending when no request is served
// any more. Whole requests among them, and among those that come until the client
// notices, are counted: they were sent, and somebody may look for them.
type rest uint8

const (
	restUnknown rest = iota // nobody can tell
	restNext                // the next request
	restCurrent             // the request in c.head, which is counted already
	restBody                // the body of such a one, with c.restLeft bytes left
	restChunks              // the body of such a one, of which c.chunks has read all but what is pending after its held bytes
)

// countRest consumes what is pending, but for a head that is not complete.
func (c *conn) countRest() {
	in := &c.requests
	if c.mode.Load() == modeOpaque {
		c.rest = restUnknown
	}
	for len(in.pending()) > 0 {
		switch c.rest {
		case restUnknown:
			in.consume(len(in.pending()))
		case restNext:
			if !c.readRest() {
				return
			}
		case restCurrent:
			c.skipHead()
		case restBody:
			n := min(int64(len(in.pending())), c.restLeft)
			in.consume(int(n))
			if c.restLeft -= n; c.restLeft == 0 {
				c.endRest()
			}
		case restChunks:
			c.skipChunks()
		}
	}
}

// readRest reads the head of a request that nobody answers, and returns false where
// more of it has to come.
func (c *conn) readRest() bool {
	in := &c.requests
	if b := in.pending(); len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
		in.consume(len("\r\n"))
		return true
	}
	c.head.reset()
	done, err := c.head.parse(in.pending())
	switch {
	case err != nil:
		c.rest = restUnknown
	case !done:
		return false
	default:
		c.restOf = c.describe()
		c.skipHead()
	}
	return true
}

func (c *conn) skipHead() {
	h := &c.head
	c.requests.consume(h.size())
	switch {
	case h.chunked:
		c.startChunks()
		c.rest = restChunks
	case h.length > 0:
		c.rest, c.restLeft = restBody, h.length
	default:
		c.endRest()
	}
}

func (c *conn) skipChunks() {
	in, b := &c.requests, &c.chunks
	in.consume(b.held)
	n, done, err := b.feed(in.pending())
	b.held = 0
	switch {
	case err != nil:
		c.rest = restUnknown
		return
	case done:
		c.endRest()
	}
	in.consume(n)
}

// endRest counts a request that has come whole.
func (c *conn) endRest() {
	c.rest = restNext
	if c.head.last() {
		c.rest = restUnknown
	}
	ex := c.restOf
	if ex == nil {
		return
	}
	c.restOf = nil
	ex.withdraw(workload.NotSent, errEnds)
	c.recordUnsent(ex)
}

// dropRest forgets a request of which not all came.
func (c *conn) dropRest() {
	if c.restOf != nil {
		c.restOf.release()
	}
}
