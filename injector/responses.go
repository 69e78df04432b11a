package injector

import (
	"errors"
	"io"
	"syscall"
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
		if m := c.mode.Load(); m != modeHTTP && m != modeLast {
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
// in one write. At the end of the upstream, or where the connection is to end, it
// returns io.EOF.
func (c *conn) relayResponse() error {
	in, r := &c.responses, &c.response
	if n := lineEnds(in.pending()); n > 0 {
		return in.flush(n)
	}
	ex := c.pipeline.front()
	if ex == nil {
		return c.endUnsolicited()
	}
	if err := c.readResponseHead(); err != nil {
		return c.giveUp(ex, err)
	}
	kind, err := r.frame(ex)
	if err != nil {
		return c.giveUp(ex, err)
	}
	if kind == interimHead {
		ex.expects = ex.expects && r.status != 100
		return in.flush(r.size())
	}
	ex.use.Status = r.status
	if r.status == 401 && !ex.token.IsZero() {
		c.srv.tokens.Rejected(ex.request, ex.token)
	}
	c.pipeline.started.Store(c.pipeline.answered.Load() + 1)
	c.foresee(ex, kind)
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
	return c.endIfLast()
}

// lineEnds returns how many bytes are no part of what follows: some servers send a
// line end after a body, and clients that mind it end the connection themselves.
func lineEnds(b []byte) (n int) {
	for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
		n++
	}
	return n
}

// readResponseHead reads a head into c.response. One that does not fit into a buffer
// is passed on as it comes.
func (c *conn) readResponseHead() error {
	in, r := &c.responses, &c.response
	r.reset()
	for {
		done, err := r.parse(in.pending())
		if done || err != nil {
			return err
		}
		if err = in.fill(); err == errBufferFull {
			err = c.passHead()
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) passHead() error {
	in := &c.responses
	n, err := c.response.pass(in.pending())
	if err != nil {
		return err
	}
	c.pipeline.started.Store(c.pipeline.answered.Load() + 1)
	return in.flush(n)
}

// foresee says, before any of a final response is passed on, whether the connection
// ends with it: its client may send the next request once it has it.
//
// If the server answers before it was sent the whole body of the request, nobody can
// tell what it takes the next bytes for: the body, or a request. So they get no token,
// and nothing after them does. A client that still waits to be asked for the body may
// send a request instead, so that not even a body is expected of it.
func (c *conn) foresee(ex *exchange, kind body) {
	p := &c.pipeline
	n := p.answered.Load() + 1
	early := !reached(p.whole.Load(), n)
	switch {
	case kind == switchedHead, c.mode.Load() == modeOpaque:
		return
	case kind == closeBody:
		c.sendNoMore(modeBroken)
	case c.response.doubt != nil:
		c.sendNoMore(modeLast)
		c.warn(warnResponse, ex.use.Identity, "clients may differ about where a response ends; its connection ends with it", "peer", c.peer.String(), "error", c.response.doubt)
	case early:
		c.sendNoMore(modeLast)
	default:
		return
	}
	c.wakeUp()
	if early && ex.expects && !reached(p.begun.Load(), n) {
		c.halted.Store(true)
		c.kick()
	}
}

// endsNow reports whether the connection is to end as soon as its response is passed on.
func (c *conn) endsNow() bool {
	p := &c.pipeline
	return c.mode.Load() == modeLast && p.outstanding() <= 1 && (c.halted.Load() || reached(p.whole.Load(), p.answered.Load()+1))
}

// endIfLast ends the connection after its last response, by io.EOF. If the request's
// body is still on its way, the requests' goroutine does, after that; if other requests
// were sent before, their answers are relayed to the end.
func (c *conn) endIfLast() error {
	p := &c.pipeline
	switch {
	case c.mode.Load() != modeLast, !c.halted.Load() && !reached(p.whole.Load(), p.answered.Load()):
		return nil
	case p.outstanding() > 0:
		c.sendNoMore(modeBroken)
		c.wakeUp()
		return nil
	}
	if err := c.responses.flush(len(c.responses.pending())); err != nil {
		return err
	}
	return io.EOF
}

// relayBody passes head and body on.
func (c *conn) relayBody(kind body) error {
	in, r := &c.responses, &c.response
	b := in.pending()[r.size():]
	switch kind {
	case lengthBody:
		n := min(int64(len(b)), r.length)
		if err := c.passFirst(r.size()+int(n), n == r.length); err != nil {
			return err
		}
		return in.move(r.length - n)
	case chunkedBody:
		return c.relayChunks()
	case closeBody:
		if err := in.move(whole); err != nil {
			return err
		}
		return io.EOF
	}
	return c.passFirst(r.size(), true) // no body
}

// passFirst passes the first bytes of a response on, which may be all of it. Its end,
// if it is that of the connection too, leaves with the last of them, and so do empty
// lines after it: a client that has the response knows.
func (c *conn) passFirst(n int, all bool) error {
	in := &c.responses
	if all {
		n += emptyLines(in.pending()[n:])
	}
	if all && c.endsNow() && n == len(in.pending()) {
		in.flags = syscall.MSG_MORE
		defer func() { in.flags = 0 }()
	}
	return in.flush(n)
}

// relayChunks passes a head with a chunked body on.
func (c *conn) relayChunks() error {
	in, chunks := &c.responses, &c.responseChunks
	chunks.start(false)
	for from := c.response.size(); ; from = 0 {
		if from == 0 && len(in.pending()) == 0 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		n, done, err := chunks.feed(in.pending()[from:])
		if err != nil {
			return err
		}
		if done && chunks.doubt != nil {
			c.mode.CompareAndSwap(modeHTTP, modeLast)
		}
		if err := c.passFirst(from+n, done); err != nil || done {
			return err
		}
	}
}

// endUnsolicited passes on what no request asked for, such as a body where none may be,
// and ends the connection: what comes next cannot be told from an answer.
func (c *conn) endUnsolicited() error {
	if !c.sendNoMore(modeLast) {
		return nil // somebody did, unread
	}
	c.warn(warnResponse, "", "the destination sent bytes that no request asked for; the connection ends", "peer", c.peer.String(), "error", errUnsolicited)
	if err := c.responses.flush(len(c.responses.pending())); err != nil {
		return err
	}
	return io.EOF
}

// giveUp ends the framing of responses because of err. What the parser refuses
// is still relayed, to the end of the upstream, for the client to judge; but
// nothing can be told about where it ends, so that no request follows.
func (c *conn) giveUp(ex *exchange, err error) error {
	var bad *refusal
	in := &c.responses
	ex.use.Reason = err
	switch {
	case err == io.EOF:
		if err := in.flush(len(in.pending())); err != nil {
			return err
		}
		return io.EOF
	case errors.As(err, &bad):
		c.sendNoMore(modeBroken)
		c.wakeUp()
		c.warn(warnResponse, ex.use.Identity, "a response cannot be framed; it is relayed to the end of its connection", "peer", c.peer.String(), "error", err)
		if err := in.move(whole); err != nil {
			return err
		}
		return io.EOF
	}
	return err
}
