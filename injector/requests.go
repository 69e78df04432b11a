package injector

import (
	"errors"
	"io"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// What serveRequests is told by what it calls.
var (
	errOver     = errors.New("the client has no more requests")
	errAnswered = errors.New("answered here")
	errTunnel   = errors.New("no HTTP from here on")
	errEnded    = errors.New("no further request is served")
	errHalted   = errors.New("the body is not wanted")
)

// serveRequests serves the client's direction to its end. An error that it
// returns calls for a reset.
func (c *conn) serveRequests() error {
	if err := c.requests.readFrom(c.client); err != nil {
		return err
	}
	err := c.begin()
	for err == nil {
		err = c.serveRequest()
	}
	var write writeError
	switch {
	case err == errTunnel:
		return c.tunnel()
	case err == errAnswered, err == errEnded:
		return nil
	case err == errOver:
		return c.deliver()
	case errors.As(err, &write): // perhaps the answer is on its way nevertheless
		c.await(c.pipeline.sent.Load())
		return nil
	}
	return err
}

// serveRequest reads one request, decides about it and sends it on.
func (c *conn) serveRequest() error {
	c.rest = restNext
	if c.mode.Load() == modeLast && c.pipeline.outstanding() == 0 {
		return errEnded
	}
	if err := c.readHead(); err != nil {
		return err
	}
	c.rest = restCurrent
	if err := c.awaitUpstream(); err != nil {
		return err
	}
	ex := c.describe()
	if c.endsHere() {
		return c.notSent(ex, errEnds)
	}
	if c.head.doubt != nil {
		return c.sendDoubtful(ex)
	}
	c.requests.watch.enter(phaseDeciding)
	p := c.authorize(c.decisionContext(), ex, c.requests.pending())
	c.requests.watch.enter(phaseReading)
	if p != nil {
		return c.answer(ex, p)
	}
	return c.send(ex)
}

// readHead reads the head of the next request into c.head.
func (c *conn) readHead() error {
	in := &c.requests
	c.head.reset()
	for partial, skipped := false, false; ; {
		if b := in.pending(); len(b) > 0 {
			if !skipped && c.head.next == 0 && len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
				// Old clients send an empty line after a body, RFC 9112 §2.2.
				in.consume(len("\r\n"))
				skipped = true
				if partial { // it came in two pieces, and begins no head
					partial = false
					in.watch.enter(phaseReading)
				}
				continue
			}
			if !partial {
				c.limitHead()
			}
			done, err := c.head.parse(b)
			if err != nil {
				if c.rereads(err) {
					continue
				}
				return c.refuse(err)
			}
			if done {
				in.watch.enter(phaseReading)
				return nil
			}
			if !partial {
				partial = true
				c.late.Store(false)
				in.watch.enter(phaseHead)
			}
		}
		switch err := c.readMore(); {
		case err == io.EOF && len(in.pending()) == 0:
			return errOver
		case err == io.EOF:
			return c.refuse(errHeadCut)
		case err != nil:
			return err
		}
	}
}

// readMore waits for more bytes of a head, unless there is no reason to wait.
func (c *conn) readMore() error {
	if err := c.look(); err != nil {
		return err
	}
	switch err := c.requests.fill(); err {
	case errKicked:
		return c.look()
	case errBufferFull:
		return c.refuse(errHeadSize)
	case io.EOF:
		c.ended = true
		return err
	default:
		return err
	}
}

// look finds out why the goroutine was kicked, or might as well not wait.
func (c *conn) look() error {
	idle := len(c.requests.pending()) == 0
	if c.late.Swap(false) && !idle {
		return c.refuse(errHeadTime)
	}
	if c.hasDialled() && c.dialErr != nil {
		return c.upstreamFailed()
	}
	if c.isOver() {
		return errOver
	}
	if idle && c.pipeline.outstanding() == 0 && (c.srv.draining.Load() || c.expired.Load()) {
		return errOver
	}
	return nil
}

// send forwards the request in c.head with the token in ex, if there is one: the
// head and what is there of the body in one write, then the rest.
func (c *conn) send(ex *exchange) error {
	if !c.awaitTurn(c.pipeline.sent.Load() - (maxPipelined - 1)) { // room for one more
		return c.notSent(ex, errUpstreamGone)
	}
	h := &c.head
	first, left, err := c.firstBytes()
	if err != nil {
		ex.token = token.Token{}
		return c.refuseOrRelay(ex, err)
	}
	if !ex.token.IsZero() && !isASCII(h.target.of(c.requests.pending())) {
		c.warn(warnTarget, ex.use.Identity, "a request's target has bytes above ASCII, which servers may read in different ways; it is passed on as it is", "destination", ex.use.Destination)
	}
	begun := len(c.requests.pending()) > h.size()
	ex.expects = left != 0 && !begun && expectsContinue(c.requests.pending()[:h.size()])
	strip := ex.leave(h, c.requests.pending())
	waits, last, tok := ex.upgrade || ex.connect, h.last(), ex.token
	ex.use.Sent = c.srv.now()
	n := c.pipeline.push(ex) // from here on ex belongs to the responses
	if c.endsHere() {
		c.pipeline.retract()
		return c.notSent(ex, errEnds)
	}
	if begun {
		c.pipeline.begun.Store(n)
	}
	if left == 0 {
		c.pipeline.whole.Store(n)
	}
	if err = c.requests.sendHead(h, first, tok, strip); err == nil && left != 0 {
		err = c.sendBody(n, left)
	}
	if last {
		c.rest = restUnknown // its client sends no other request
	} else if err == nil {
		c.rest = restNext
	}
	switch {
	case err != nil:
		return c.sendFailed(n, err)
	case waits || last:
		return c.hold(n, last)
	}
	return nil
}

// sendFailed says what becomes of request n, which could not be sent whole.
func (c *conn) sendFailed(n uint32, err error) error {
	var bad *refusal
	switch {
	case err == errHalted: // whatever comes now is a body or a request
		c.rest = restUnknown
		c.await(n)
		return errEnded
	case errors.As(err, &bad) && c.harmless():
		return c.relayBodyUnread(n, bad)
	case errors.As(err, &bad):
		c.rest = restUnknown
		return c.cut(n, bad)
	case err == io.EOF:
		c.ended = true
		return errOver
	}
	return err
}

// firstBytes says how many pending bytes of the request, head and body, are to be sent, and how many of the body are left (of a chunked one: whole).
func (c *conn) firstBytes() (first int, left int64, err error) {
	h := &c.head
	body := c.requests.pending()[h.size():]
	switch {
	case h.chunked:
		c.startChunks()
		n, done, err := c.chunks.feed(body)
		if !done {
			left = whole
		}
		return h.size() + n - c.chunks.held, left, err
	case h.length > 0:
		n := min(int64(len(body)), h.length)
		return h.size() + int(n), h.length - n, nil
	}
	return h.size(), 0, nil
}

// sendHead writes the first pending bytes, with the token where one is due, and without
// offers of protocols that carry requests if those are to be stripped.
func (h *half) sendHead(head *head, first int, t token.Token, strip bool) error {
	if t.IsZero() && !strip {
		return h.flush(first)
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	b := h.pending()
	if t.IsZero() {
		s.data = append(s.data, b[:head.size()]...)
	} else {
		s.data = appendInjected(s.data, b, head, t)
	}
	if strip {
		s.data = withoutOffers(s.data)
	}
	s.data = append(s.data, b[head.size():first]...)
	if err := h.write(s.data); err != nil {
		return err
	}
	h.consume(first)
	return nil
}

// cut ends request n, whose body turned out to be malformed after a part of it
// was sent. The server is left with an incomplete message and a reset.
func (c *conn) cut(n uint32, bad *refusal) error {
	c.await(n - 1)
	_ = c.upstream.SetLinger(0)
	c.endUpstream()
	ex := c.pipeline.front()
	if reached(c.pipeline.answered.Load(), n) && !c.aborted.Load() {
		return errEnded // the client has its answer, and a reset could take it away
	}
	if ex == nil || reached(c.pipeline.started.Load(), n) || c.aborted.Load() {
		return bad
	}
	c.pipeline.pop()
	return c.say(ex, c.badRequest(ex, bad))
}

// deliver waits for what the client may still receive.
func (c *conn) deliver() error {
	if c.pipeline.outstanding() == 0 {
		return nil
	}
	if c.ended {
		_ = c.upstream.CloseWrite()
	}
	c.await(c.pipeline.sent.Load())
	return nil
}

// upstreamFailed records that nothing answers, and has the client reset.
func (c *conn) upstreamFailed() error {
	if c.head.done && c.mode.Load() == modeHTTP {
		ex := c.describe()
		ex.use.Outcome, ex.use.Reason = workload.UpstreamFailed, c.dialErr
		c.record(ex)
	} else {
		c.recordConnection(telemetry.Use{Outcome: workload.UpstreamFailed, Reason: c.dialErr})
	}
	return c.dialErr
}
