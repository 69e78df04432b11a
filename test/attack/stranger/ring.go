//go:build linux

package main

import "time"

// heldAtOnce is how many connections one worker has open, and waits with.
const heldAtOnce = 1

// ring holds connections that wait. When it is full, the oldest is used: a request
// is sent, perhaps for the second time, its answer read, and it is reset.
type ring struct {
	stranger *stranger
	held     []waiting
}

type waiting struct{ fd, n int }

func (r *ring) put(fd, n int) {
	r.held = append(r.held, waiting{fd, n})
	if len(r.held) > heldAtOnce {
		r.use(r.held[0])
		r.held = r.held[1:]
	}
}

func (r *ring) use(w waiting) {
	send(w.fd, r.stranger.request(w.n))
	if w.n%3 != 0 {
		r.stranger.listen(w.fd, w.n, 10*time.Millisecond)
	}
	reset(w.fd)
}

func (r *ring) empty() {
	for _, w := range r.held {
		r.use(w)
	}
	r.held = nil
}
