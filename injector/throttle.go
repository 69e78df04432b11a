package injector

import (
	"sync/atomic"
	"time"
)

// Kinds of warnings. Each is logged at most once per warnEvery, with the number
// of those left out: a peer must not be able to fill the log.
const (
	warnNoFlow = iota
	warnFull
	warnAccept
	warnAttribution
	warnUnverified
	warnFailure
	warnResponse
	warnKinds
)

// throttle lets one thing pass per interval and counts the rest.
type throttle struct {
	next    atomic.Int64 // nanoseconds of the clock
	dropped atomic.Uint64
}

func (t *throttle) allow(now time.Time, every time.Duration) (dropped uint64, ok bool) {
	next := t.next.Load()
	if now.UnixNano() < next || !t.next.CompareAndSwap(next, now.Add(every).UnixNano()) {
		t.dropped.Add(1)
		return 0, false
	}
	return t.dropped.Swap(0), true
}

func (s *Server) warn(kind int, msg string, args ...any) {
	dropped, ok := s.warnings[kind].allow(s.now(), warnEvery)
	if !ok {
		return
	}
	if dropped > 0 {
		args = append(args, "left_out", dropped)
	}
	s.log.Warn(msg, args...)
}
