package injector

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// The mode of a connection is what it was found to carry. It only moves to the right:
//
//	deciding ──▶ http ──▶ opaque (after 101 or CONNECT, or unread from here on)
//	    │          ├────▶ last ──▶ broken
//	    │          └────▶ broken (a response that ends with its connection, or cannot be framed)
//	    └──────▶ opaque (no identity, not HTTP, the server spoke first)
//
// An opaque connection is that to its end: where no token can be due, a body that is
// not understood makes one also before the response to its request.
const (
	modeDeciding uint32 = iota
	modeHTTP
	modeOpaque
	modeLast   // no request is sent any more, and the connection ends after the response
	modeBroken // no request is sent any more, and what comes is relayed to its end
	modeNever
)

// conn is one accepted connection with its upstream. Two goroutines serve it: one
// reads requests and writes upstream, one dials, reads responses and writes to
// the client. Only the first ever writes an answer of our own, and only after the
// second is gone.
type conn struct {
	srv    *Server
	flow   workload.Flow
	client *net.TCPConn
	start  time.Time

	// Of the requests' goroutine.
	requests half
	head     head
	chunks   chunked
	caller   caller
	share    workload.Share // what the connection counts in, the flow's at first
	rest     rest           // what the bytes are that nobody will answer
	restLeft int64          // of a body among them
	restOf   *exchange      // the request among them that has not yet come whole
	ended    bool           // the client sent its FIN
	told     bool           // the race for an upstream knows the goal, or that there is none
	toldHost string         // the unknown host that the last request named
	unread   error          // why it is relayed unread, or nil
	placed   place          // what nearby found
	placedBy Policy         // under which

	// Of the responses' goroutine.
	responses      half
	response       response
	responseChunks chunked

	// Shared.
	mode     atomic.Uint32
	pipeline pipeline
	goals    chan goal     // where the first request goes, for failover; closed if that is nowhere registered
	dialled  chan struct{} // closed when upstream or dialErr is set
	upstream *net.TCPConn
	peer     netip.AddrPort // the address that was dialled
	dialErr  error
	wake     chan struct{} // a response was completed; at most one token
	waiting  atomic.Uint32 // how the requests' goroutine waits for that
	ending   atomic.Bool   // the upstream's direction has ended
	over     chan struct{} // closed when the responses' goroutine is gone

	halted  atomic.Bool // the request's body, which was not begun, is not wanted
	late    atomic.Bool // set by the sweep: the head took too long
	expired atomic.Bool // set by the sweep: idle for too long
	local   atomic.Bool // the requests' goroutine ends both sides itself
	aborted atomic.Bool

	recorded atomic.Bool // something was

	ctx      context.Context
	cancel   context.CancelFunc
	decision atomic.Pointer[decision]

	mu    sync.Mutex     // guards what follows
	ends  []*net.TCPConn // the sockets that there are
	cause error          // why the connection was aborted
}

// decision bounds the time that one decision may take.
type decision struct {
	ctx    context.Context
	cancel context.CancelFunc
}

var (
	errUpstreamGone = errors.New("the destination closed the connection without a response")
	errEnds         = errors.New("the connection ends with the response to an earlier request")
)

// aLongTimeAgo as a deadline wakes up who reads.
var aLongTimeAgo = time.Unix(1, 0)

func (s *Server) newConn(client *net.TCPConn, flow workload.Flow) *conn {
	c := &conn{
		srv: s, flow: flow, share: flow.Share, client: client, start: s.now(),
		goals:   make(chan goal, 1),
		dialled: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		ends:    []*net.TCPConn{client},
	}
	c.requests.watch.ticks, c.responses.watch.ticks = &s.ticks, &s.ticks
	c.requests.watch.enter(phaseReading)
	c.responses.watch.enter(phaseReading)
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// serve serves the connection to its end.
func (c *conn) serve() {
	c.srv.tasks.Go(c.serveResponses)
	c.attribute()
	if err := c.serveRequests(); err != nil {
		c.abort(err)
	}
	c.endUpstream()
	c.recordTunnel()
	c.recordRest()
	c.close()
	c.recordRemnant()
}

// abort ends both sides with a reset, because of err. Both goroutines then find
// their sockets closed.
func (c *conn) abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted.Swap(true) {
		return
	}
	c.cause = err
	c.cancel()
	for _, conn := range c.ends {
		reset(conn)
	}
}

// attach makes the upstream part of the connection, unless that was aborted.
func (c *conn) attach(upstream *net.TCPConn, to netip.AddrPort) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted.Load() {
		reset(upstream)
		return net.ErrClosed
	}
	c.ends = append(c.ends, upstream)
	c.upstream, c.peer = upstream, to
	return errors.Join(c.requests.writeTo(upstream), c.responses.writeTo(c.client), c.responses.readFrom(upstream))
}

// sendNoMore has no request sent any more, as mode m has it, and returns false if
// the connection is none of requests any more.
func (c *conn) sendNoMore(m uint32) bool {
	for {
		before := c.mode.Load()
		switch {
		case before == modeOpaque:
			return false
		case before >= m, c.mode.CompareAndSwap(before, m):
			return true
		}
	}
}

// kick wakes the requests' goroutine up if it waits for the client.
func (c *conn) kick() { _ = c.client.SetReadDeadline(aLongTimeAgo) }

// drain asks a connection that has nothing to do to end.
func (c *conn) drain() { c.kick() }

// expire ends a connection on which nothing was sent for too long: in peace if
// nobody waits for anything, else with a reset.
func (c *conn) expire() {
	if m := c.mode.Load(); c.pipeline.outstanding() > 0 || m != modeHTTP && m != modeLast {
		c.abort(errIdle)
		return
	}
	c.expired.Store(true)
	c.kick()
}

// decisionContext ends with the connection, or when the decision takes too long.
func (c *conn) decisionContext() context.Context {
	if d := c.decision.Load(); d != nil && d.ctx.Err() == nil {
		return d.ctx
	}
	d := new(decision)
	d.ctx, d.cancel = context.WithCancel(c.ctx)
	c.decision.Store(d)
	return d.ctx
}

func (c *conn) cancelDecision() {
	if d := c.decision.Load(); d != nil {
		d.cancel()
	}
}

// endUpstream ends the upstream's side, if it has not ended by itself, and waits
// for the responses' goroutine. Afterwards the requests' goroutine is alone.
func (c *conn) endUpstream() {
	c.local.Store(true)
	c.cancel()
	<-c.dialled
	if c.upstream != nil {
		_ = c.upstream.Close()
	}
	<-c.over
}

// close closes the client's side: first the sending half, then, when the client
// closed too or had its time, the rest. Closing at once with unread bytes would
// be a reset, which can overtake an answer that the client has not read.
func (c *conn) close() {
	defer c.release()
	defer c.dropRest()
	if c.aborted.Load() {
		c.countRest()
		return
	}
	_ = c.client.CloseWrite()
	c.linger()
	_ = c.client.Close()
}

// linger reads what the client still sends, within bounds. It is dropped, but the
// requests in it are counted.
func (c *conn) linger() {
	in, until := &c.requests, time.Now().Add(drainTime)
	for left := maxDrain; ; left -= in.got {
		c.countRest()
		if c.ended || left <= 0 {
			return
		}
		_ = c.client.SetReadDeadline(until)
		switch err := in.fill(); {
		case err == errKicked && time.Now().Before(until):
			// it was no deadline of ours
		case err == errBufferFull:
			c.rest, in.got = restUnknown, 0
		case err != nil:
			return
		}
	}
}

func (c *conn) release() {
	for _, h := range []*half{&c.requests, &c.responses} {
		h.consume(len(h.pending()))
	}
}

// recordRest records the requests that never got a whole response.
func (c *conn) recordRest() {
	c.mu.Lock()
	reason := c.cause
	c.mu.Unlock()
	if c.unread != nil {
		reason = c.unread
	}
	if reason == nil {
		reason = errUpstreamGone
	}
	for ex := c.pipeline.front(); ex != nil; ex = c.pipeline.front() {
		if ex.use.Reason == nil || errors.Is(ex.use.Reason, net.ErrClosed) {
			ex.use.Reason = reason
		}
		c.pipeline.pop()
		c.record(ex)
	}
}

// recordRemnant records a connection over which something went, and which ended before
// that was a request or anything else.
func (c *conn) recordRemnant() {
	if c.recorded.Load() || !c.requests.used && !c.responses.used {
		return
	}
	outcome, reason := workload.NotSent, error(errHeadCut)
	if c.mode.Load() != modeHTTP {
		outcome = workload.NotHTTP
	}
	c.mu.Lock()
	if c.cause != nil {
		reason = c.cause
	}
	c.mu.Unlock()
	c.recordConnection(telemetry.Use{Outcome: outcome, Reason: reason})
}

func (c *conn) record(ex *exchange) {
	c.recorded.Store(true)
	ex.use.End = c.srv.now()
	c.srv.recorder.Use(ex.use)
	ex.release()
}

// recordConnection records a connection that was no HTTP.
func (c *conn) recordConnection(use telemetry.Use) {
	c.recorded.Store(true)
	use.Start, use.End = c.start, c.srv.now()
	c.describeCaller(&use)
	c.srv.recorder.Use(use)
}

func (c *conn) describeCaller(use *telemetry.Use) {
	use.Image, use.Peer = c.flow.Image, c.flow
	if p := c.caller.process; p != nil {
		use.Executable = p.Executable
	}
	use.Identity = c.caller.name()
}
