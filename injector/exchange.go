package injector

import (
	"sync"
	"sync/atomic"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
)

// exchange is one request and what its response needs to know of it. It belongs
// to the goroutine of the requests until it is pushed, then to that of the
// responses.
type exchange struct {
	use      telemetry.Use
	headOnly bool // HEAD: the response has no body
	connect  bool
	upgrade  bool
	request  token.Request
	token    token.Token // zero where none was sent
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (ex *exchange) release() {
	*ex = exchange{}
	exchanges.Put(ex)
}

// pipeline is the queue of requests that were sent and not yet answered in full:
// one goroutine pushes, another pops, without a lock.
type pipeline struct {
	slots    [maxPipelined]*exchange
	sent     atomic.Uint32 // pushed so far
	answered atomic.Uint32 // popped so far
	started  atomic.Uint32 // number of the last one whose response has begun
}

func (p *pipeline) outstanding() uint32 { return p.sent.Load() - p.answered.Load() }

// push adds an exchange, for which there must be room, and returns its number.
func (p *pipeline) push(ex *exchange) uint32 {
	n := p.sent.Load()
	p.slots[n%maxPipelined] = ex
	p.sent.Store(n + 1)
	return n + 1
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
