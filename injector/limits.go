package injector

import "time"

// Bounds of what a peer can make the injector hold. Those of a request's head are
// defaults; the others are not configurable: no legitimate program comes near them.
const (
	maxHead          = 64 << 10 // bytes of a request's head
	maxResponseHead  = 1 << 20  // bytes of a response's head, of which no more than a large buffer are held
	maxFields        = 256      // field lines of a request's head
	maxEmptyLines    = 8        // before a connection's first request
	maxAuthorization = 8        // copies of Authorization that one request may carry
	maxPipelined     = 16       // requests on their way without a complete response
	maxChunkLine     = 1 << 10  // bytes of a chunk's size and extensions
	maxChunkExtra    = 64 << 10 // bytes of extensions in one whole body
	maxTrailers      = 16 << 10 // bytes of a trailer section
	maxAlternatives  = 8        // further addresses tried when the original fails
	maxDrain         = 64 << 10 // bytes read and dropped after a local answer
)

// Times that protocol documents suggest or that only tests would change.
const (
	drainTime      = time.Second            // how long a closed client may go on sending
	quietTime      = 200 * time.Millisecond // silence after which a last response counts as ended for a client that has sent its next request
	fallbackDelay  = 300 * time.Millisecond // silence of an address before the next is tried beside it (RFC 8305 §5)
	failoverWait   = time.Second            // how long a client whose address failed may take to say whom it wants
	openingWait    = 2 * time.Second        // silence after bytes that may yet become a request's first line; then they are relayed
	sweepInterval  = time.Second            // resolution of all the limits below
	acceptPause    = 50 * time.Millisecond  // after accept failed, as there was no file descriptor left
	bytesPerSplice = 1 << 20                // moved by the kernel between two looks at the connection
)

// The defaults of Limits.
const (
	DefaultConnections = 10_000
	DefaultHeadBytes   = maxHead
	DefaultHeadFields  = maxFields
	DefaultHead        = 30 * time.Second
	DefaultDecision    = 15 * time.Second
	DefaultDial        = 30 * time.Second
	DefaultStall       = 5 * time.Minute
	DefaultIdle        = 2 * time.Hour
	DefaultRelay       = 24 * time.Hour
)

// Limits bound how many connections there are, what a request's head may hold, and
// how long each may wait. A zero field means its default. They are generous, because
// without us there would be none: they only keep what is dead from staying for ever.
type Limits struct {
	Connections int           // open at once; one more is reset, so that the kernel must let in no more
	HeadBytes   int           // of a request's head; then 431
	HeadFields  int           // field lines of a request's head; then 431
	Head        time.Duration // from the first byte of a request's head (of a connection's first one: from its first line) to its last; then 408
	Decision    time.Duration // attribution, verification and token together; then token_unavailable
	Dial        time.Duration // until an address has answered; then reset
	Stall       time.Duration // a peer takes no byte of what is written to it; then reset
	Idle        time.Duration // no byte either way on an HTTP connection; then closed
	Relay       time.Duration // no byte either way on an opaque connection; then reset
}

func (l Limits) withDefaults() Limits {
	for _, n := range []struct {
		field   *int
		initial int
	}{
		{&l.Connections, DefaultConnections}, {&l.HeadBytes, DefaultHeadBytes}, {&l.HeadFields, DefaultHeadFields},
	} {
		if *n.field == 0 {
			*n.field = n.initial
		}
	}
	for _, d := range []struct {
		field   *time.Duration
		initial time.Duration
	}{
		{&l.Head, DefaultHead}, {&l.Decision, DefaultDecision}, {&l.Dial, DefaultDial},
		{&l.Stall, DefaultStall}, {&l.Idle, DefaultIdle}, {&l.Relay, DefaultRelay},
	} {
		if *d.field == 0 {
			*d.field = d.initial
		}
	}
	return l
}

// SetLimits puts other limits in the place of those in force, for open connections
// too, from their next head or wait on. The number of connections stays what it was:
// the kernel was told.
func (s *Server) SetLimits(l Limits) {
	l.Connections = s.limits().Connections
	l = l.withDefaults()
	s.inForce.Store(&l)
}

// limits returns those in force.
func (s *Server) limits() *Limits { return s.inForce.Load() }
