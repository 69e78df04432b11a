package injector

import (
	"errors"
	"sync/atomic"
)

// phase is what a half is waiting for. How long it may wait depends on it.
type phase uint32

const (
	phaseReading  phase = iota // for bytes, which may take its time
	phaseOpening               // for the rest of what may become the first line of a request
	phaseWriting               // for a peer to take bytes
	phaseSplicing              // for the kernel to move bytes
	phaseHead                  // for the rest of a head
	phaseDeciding              // for attribution, verification, a token
)

// watch holds the phase of a half and when it last changed or saw a byte, in
// sweeps of the server. The owner of the half stores it without a lock or a
// timer; the server's sweep reads it. (A deadline per request would cost more
// than parsing it.)
type watch struct {
	state atomic.Uint64
	ticks *atomic.Uint32
}

func (w *watch) enter(p phase) (before phase) {
	before = phase(w.state.Load() >> 32)
	w.state.Store(uint64(p)<<32 | uint64(w.ticks.Load()))
	return before
}

// progress notes that bytes came. A head has to be complete in time however many
// of them come.
func (w *watch) progress() {
	if p := phase(w.state.Load() >> 32); p != phaseHead {
		w.enter(p)
	}
}

func (w *watch) load(now uint32) (p phase, age uint32) {
	s := w.state.Load()
	return phase(s >> 32), now - uint32(s)
}

// touch starts the time of a phase anew, unless its owner meanwhile did.
func (w *watch) touch(now uint32) {
	s := w.state.Load()
	w.state.CompareAndSwap(s, s>>32<<32|uint64(now))
}

// look is the sweep's view of a half. While bytes are being written or spliced,
// which may last, only the kernel knows whether the peer takes any; and a splice
// waits for a peer to take bytes if there are some, else for more of them.
func (h *half) look(now uint32) (p phase, age uint32) {
	p, age = h.watch.load(now)
	if age == 0 || p != phaseWriting && p != phaseSplicing {
		return p, age
	}
	acked, waiting := sent(h.to)
	if acked != h.acked {
		h.acked = acked
		h.watch.touch(now)
		age = 0
	}
	switch {
	case p == phaseSplicing && waiting:
		p = phaseWriting
	case p == phaseSplicing:
		p = phaseReading
	}
	return p, age
}

// Why a connection was ended by the sweep.
var (
	errStalled = errors.New("a peer takes no more bytes")
	errIdle    = errors.New("nothing was sent for too long")
)

// ages are the limits in sweeps.
type ages struct{ opening, head, decision, stall, idle, relay uint32 }

func (l Limits) ages() ages {
	return ages{
		opening:  uint32(openingWait / sweepInterval),
		head:     uint32(l.Head / sweepInterval),
		decision: uint32(l.Decision / sweepInterval),
		stall:    uint32(l.Stall / sweepInterval),
		idle:     uint32(l.Idle / sweepInterval),
		relay:    uint32(l.Relay / sweepInterval),
	}
}

// sweep ends what has waited for too long. It runs beside the goroutines of the
// connection and only tells them; what happens then is theirs.
func (c *conn) sweep(now uint32, max ages) {
	request, requestAge := c.requests.look(now)
	response, responseAge := c.responses.look(now)
	idle := max.idle
	if c.mode.Load() == modeOpaque {
		idle = max.relay
	}
	switch {
	case request == phaseWriting && requestAge > max.stall, response == phaseWriting && responseAge > max.stall:
		c.abort(errStalled)
	case request == phaseOpening && requestAge > max.opening && c.mode.CompareAndSwap(modeDeciding, modeOpaque):
		c.kick()
	case request == phaseHead && requestAge > max.head:
		c.late.Store(true)
		c.kick()
	case request == phaseDeciding && requestAge > max.decision:
		c.cancelDecision()
	case min(requestAge, responseAge) > idle:
		c.expire()
	}
}
