package injector

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// exchange is one request and what its response needs to know of it. It belongs
// to the goroutine of the requests until it is pushed, then to that of the
// responses.
type exchange struct {
	use      telemetry.Use
	headOnly bool // HEAD: the response has no body
	connect  bool
	upgrade  bool // it asks to switch protocols, also as it is sent
	strip    bool // offers of protocols that carry requests are left out
	expects  bool // the client waits for a word before it sends the body, of which nothing is there
	request  token.Request
	token    token.Token // zero where none was sent
	// anonymous says why it goes out without its token, and nearby where to if that is
	// no registered host: they are recorded if it does.
	anonymous workload.Anonymous
	nearby    string
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (ex *exchange) release() {
	*ex = exchange{}
	exchanges.Put(ex)
}

// leave settles what depends on how the request goes out, whose head is in b, and
// reports whether offers of protocols are left out of it.
func (ex *exchange) leave(h *head, b []byte) (strip bool) {
	ex.use.Anonymous, ex.use.Nearby = ex.anonymous, ex.nearby
	if strip = ex.strip && ex.upgrade; strip {
		ex.upgrade = keptOffers(b[:h.size()])
	}
	return strip
}

// withdraw gives the exchange an outcome without a token.
func (ex *exchange) withdraw(outcome workload.Outcome, reason error) {
	ex.token = token.Token{}
	ex.use.Outcome, ex.use.Reason = outcome, reason
	ex.use.Audience, ex.use.TokenID, ex.use.Expires = "", "", time.Time{}
	ex.use.Sent = time.Time{}
}

// pipeline is the queue of requests that were sent and not yet answered in full:
// one goroutine pushes, another pops, without a lock.
type pipeline struct {
	slots    [maxPipelined]*exchange
	sent     atomic.Uint32 // pushed so far
	answered atomic.Uint32 // popped so far
	started  atomic.Uint32 // number of the last one whose response has begun
	begun    atomic.Uint32 // number of the last one of whose body something was sent
	whole    atomic.Uint32 // number of the last one that was sent whole, or whose last bytes are being written
}

func (p *pipeline) outstanding() uint32 { return p.sent.Load() - p.answered.Load() }

// push adds an exchange, for which there must be room, and returns its number.
func (p *pipeline) push(ex *exchange) uint32 {
	n := p.sent.Load()
	p.slots[n%maxPipelined] = ex
	p.sent.Store(n + 1)
	return n + 1
}

// retract takes back what was pushed last, of which no byte was sent.
func (p *pipeline) retract() {
	n := p.sent.Load() - 1
	p.slots[n%maxPipelined] = nil
	p.sent.Store(n)
}

// front returns the exchange whose response is next, or nil.
func (p *pipeline) front() *exchange {
	n := p.answered.Load()
	if n == p.sent.Load() {
		return nil
	}
	return p.slots[n%maxPipelined]
}

func (p *pipeline) pop() {
	n := p.answered.Load()
	p.slots[n%maxPipelined] = nil
	p.answered.Store(n + 1)
}

// reached reports whether the counter c has come to n, across its wrapping.
func reached(c, n uint32) bool { return int32(c-n) >= 0 }
