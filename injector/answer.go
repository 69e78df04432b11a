package injector

import (
	"errors"
	"io"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// How the requests' goroutine waits for responses.
const (
	notWaiting   uint32 = iota
	waitsAside          // for the wake channel
	waitsReading        // for the client's bytes, to be kicked
)

// await waits until n requests have been answered in full. It returns false if
// that will not happen any more.
func (c *conn) await(n uint32) bool { return c.awaitUnless(n, modeNever) }

// awaitTurn is await for who has something to do afterwards: it does not wait for the
// end of what is only relayed to its end.
func (c *conn) awaitTurn(n uint32) bool { return c.awaitUnless(n, modeBroken) }

func (c *conn) awaitUnless(n, mode uint32) bool {
	p := &c.pipeline
	if reached(p.answered.Load(), n) {
		return true
	}
	c.waiting.Store(waitsAside)
	defer c.waiting.Store(notWaiting)
	for !reached(p.answered.Load(), n) {
		if c.mode.Load() == mode {
			return false
		}
		select {
		case <-c.wake:
		case <-c.over:
			return reached(p.answered.Load(), n)
		}
	}
	return true
}

// hold waits for the response to request n, after which nothing may be sent
// before it is known: what the client sends is held back. It still notices a
// client that goes away. After the response to a last request nothing follows.
func (c *conn) hold(n uint32, last bool) error {
	c.waiting.Store(waitsReading)
	defer c.waiting.Store(notWaiting)
	for !reached(c.pipeline.answered.Load(), n) && !c.isOver() {
		if !last && c.mode.Load() == modeBroken && len(c.requests.pending()) > 0 {
			return nil // another request, by which its client has the response
		}
		switch err := c.requests.fill(); err {
		case nil, errKicked:
		case io.EOF:
			c.ended = true
			if last || len(c.requests.pending()) == 0 { // it has nothing to send in a tunnel either
				_ = c.upstream.CloseWrite()
			}
			c.await(n)
		case errBufferFull:
			c.await(n)
		default:
			return err
		}
	}
	switch {
	case c.mode.Load() == modeOpaque:
		return errTunnel
	case last || c.isOver():
		return errOver
	}
	return nil
}

// completed is called by the responses' goroutine when a response was passed on
// to its end.
func (c *conn) completed(ex *exchange) {
	c.pipeline.pop()
	c.record(ex)
	c.wakeUp()
}

// wakeUp has the requests' goroutine look around, if it waits for a response.
func (c *conn) wakeUp() {
	switch c.waiting.Load() {
	case waitsAside:
		select {
		case c.wake <- struct{}{}:
		default: // it has not yet seen the one before
		}
	case waitsReading:
		c.kick()
	case notWaiting:
		if c.srv.draining.Load() {
			c.kick()
		}
	}
}

// answer answers the request here, after the responses to all earlier ones. The
// upstream is not needed any more; that the client has ended is nevertheless
// passed on to it, for it may be what the earlier responses wait for.
func (c *conn) answer(ex *exchange, p *problem) error {
	if c.endsHere() {
		return c.leave(ex)
	}
	c.local.Store(true) // an end of the upstream is no end for a client that is to have an answer
	if c.ended && c.pipeline.outstanding() > 0 {
		_ = c.upstream.CloseWrite()
	}
	if !c.awaitTurn(c.pipeline.sent.Load()) {
		return c.leave(ex)
	}
	if c.endsHere() {
		return c.leave(ex)
	}
	c.endUpstream()
	if c.aborted.Load() || c.mode.Load() == modeOpaque {
		return c.leave(ex)
	}
	return c.say(ex, p)
}

// say writes an answer of our own. Nobody else writes to the client any more.
func (c *conn) say(ex *exchange, p *problem) error {
	if ex.use.Outcome == workload.BadRequest {
		c.rest = restUnknown
	}
	ex.use.Status = p.Status
	c.requests.watch.enter(phaseWriting)
	_, err := c.client.Write(p.response(ex.headOnly))
	c.requests.watch.enter(phaseReading)
	c.record(ex)
	if err != nil {
		return err
	}
	return errAnswered
}

// refuse answers the request that is being read with what the parser says. The
// limit of a head does not hold while the answer waits for its turn.
func (c *conn) refuse(err error) error {
	c.requests.watch.enter(phaseReading)
	if c.head.doubt != nil {
		err = c.head.doubt // it came first
	}
	ex := c.describe()
	ex.use.Outcome = workload.NotHTTP
	return c.refuseOrRelay(ex, err)
}

func (c *conn) refuseExchange(ex *exchange, err error) error {
	var bad *refusal
	if !errors.As(err, &bad) {
		return err
	}
	return c.answer(ex, c.badRequest(ex, bad))
}

func (c *conn) badRequest(ex *exchange, bad *refusal) *problem {
	ex.withdraw(workload.BadRequest, bad)
	ex.use.Refusal = bad.code
	return problemBadRequest(bad, c.srv.limits())
}

// Longest trace fields that are passed on to telemetry; W3C Trace Context asks
// for 55 and at least 512 bytes.
const (
	maxTraceparent = 128
	maxTracestate  = 512
)

// describe begins the record of the request in c.head, as far as that was parsed.
func (c *conn) describe() *exchange {
	h, b := &c.head, c.requests.pending()
	ex := exchanges.Get().(*exchange)
	ex.headOnly = h.is(b, "HEAD")
	ex.connect = h.form == authorityForm
	ex.upgrade = h.upgrade
	ex.use = telemetry.Use{
		Start:       c.srv.now(),
		Method:      methodName(h.method.of(b)),
		Host:        h.authority.host,
		Traceparent: bounded(h.traceparent.of(b), maxTraceparent),
		Tracestate:  bounded(h.tracestate.of(b), maxTracestate),
	}
	c.describeCaller(&ex.use)
	return ex
}

// methodName avoids an allocation for the methods that there are.
func methodName(b []byte) string {
	const longest = 32
	for _, m := range [...]string{"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"} {
		if string(b) == m {
			return m
		}
	}
	return bounded(b, longest)
}

func bounded(b []byte, n int) string {
	if len(b) > n {
		return ""
	}
	return string(b)
}
