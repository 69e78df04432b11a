package injector

import (
	"errors"
	"io"
)

// Why the responses of a connection cannot be told apart any more, beside what
// the parser refuses.
var errUnsolicited = errors.New("the destination sent bytes that no request asked for")

// serveResponses dials the upstream and serves its direction to its end.
func (c *conn) serveResponses() {
	defer c.passResetOn() // for which nobody waits
	defer func() {
		c.ending.Store(true)
		c.kick()
		close(c.over)
	}()
	upstream, to, err := c.connect(c.ctx)
	if err == nil {
		err = c.attach(upstream, to)
	}
	c.dialErr = err
	close(c.dialled)
	if err != nil {
		return
	}
	if c.mode.Load() == modeOpaque {
		c.kick() // it may hold first bytes
	}
	c.upstreamEnded(c.relayResponses())
}

// relayResponses returns nil when the upstream has sent its last byte.
func (c *conn) relayResponses() error {
	in := &c.responses
	for {
		if len(in.pending()) == 0 {
			if err := in.fill(); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
		if c.mode.CompareAndSwap(modeDeciding, modeOpaque) {
			c.kick() // the server speaks first
		}
		if c.mode.Load() != modeHTTP {
			return in.move(whole)
		}
		if err := c.relayResponse(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// upstreamEnded passes on how the upstream ended, to a client that is still there.
func (c *conn) upstreamEnded(err error) {
	var write writeError
	switch {
	case c.local.Load():
	case err == nil:
		_ = c.client.CloseWrite()
	case errors.As(err, &write), c.mode.Load() == modeOpaque, c.pipeline.outstanding() > 0:
		c.abort(err)
	default: // between two requests a reset is as good as an end
		_ = c.client.CloseWrite()
	}
}

// relayResponse passes one response on: the head, and what is there of the body,
// in one write. At the end of the upstream it returns io.EOF.
func (c *conn) relayResponse() error {
	ex := c.pipeline.front()
	if ex == nil {
		return c.giveUp(nil, errUnsolicited)
	}
	if err := c.readResponseHead(); err != nil {
		return c.giveUp(ex, err)
	}
	in, r := &c.responses, &c.response
	kind, err := r.frame(ex)
	if err != nil {
		return c.giveUp(ex, err)
	}
	if kind == interimHead {
		return in.flush(r.size())
	}
	ex.use.Status = r.status
	if r.status == 401 && !ex.token.IsZero() {
		c.srv.tokens.Rejected(ex.request, ex.token)
	}
	c.pipeline.started.Store(c.pipeline.answered.Load() + 1)
	if err := c.relayBody(kind); err != nil {
		if kind == closeBody && err == io.EOF {
			c.completed(ex)
			return io.EOF
		}
		return c.giveUp(ex, err)
	}
	if kind == switchedHead {
		c.mode.Store(modeOpaque)
	}
	c.completed(ex)
	return nil
}

// readResponseHead reads a whole head into c.response.
func (c *conn) readResponseHead() error {
	c.response.reset()
	for {
		done, err := c.response.parse(c.responses.pending())
		if done || err != nil {
			return err
		}
		if err := c.responses.fill(); err != nil {
			return err
		}
	}
}

// relayBody passes head and body on.
func (c *conn) relayBody(kind body) error {
	in, r := &c.responses, &c.response
	b := in.pending()[r.size():]
	switch kind {
	case lengthBody:
		n := min(int64(len(b)), r.length)
		if err := in.flush(r.size() + int(n)); err != nil {
			return err
		}
		return in.move(r.length - n)
	case chunkedBody:
		c.responseChunks.start(false)
		n, done, err := c.responseChunks.feed(b)
		if err != nil {
			return err
		}
		if err := in.flush(r.size() + n); err != nil || done {
			return err
		}
		return in.moveChunked(&c.responseChunks)
	case closeBody:
		if err := in.move(whole); err != nil {
			return err
		}
		return io.EOF
	}
	return in.flush(r.size()) // no body
}

// giveUp ends the framing of responses because of err. What the parser refuses
// is still relayed, to the end of the upstream, for the client to judge; but
// nothing can be told about where it ends, so that no request follows.
func (c *conn) giveUp(ex *exchange, err error) error {
	var bad *refusal
	in := &c.responses
	if ex != nil {
		ex.use.Reason = err
	}
	switch {
	case err == io.EOF:
		if err := in.flush(len(in.pending())); err != nil {
			return err
		}
		return io.EOF
	case errors.As(err, &bad), err == errUnsolicited:
		c.mode.CompareAndSwap(modeHTTP, modeBroken)
		identity := ""
		if ex != nil {
			identity = ex.use.Identity
		}
		c.warn(warnResponse, identity, "a response cannot be framed; it is relayed to the end of its connection", "peer", c.peer.String(), "error", err)
		if err := in.move(whole); err != nil {
			return err
		}
		return io.EOF
	}
	return err
}
