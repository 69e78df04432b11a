package resolver

import (
	"context"
	"fmt"
	"time"
)

// flight is one look-up, waiting for a slot or under way.
type flight struct {
	done chan struct{} // closed when it has ended
	kept bool          // its name was kept: it needs no place and has slots of its own
	by   asker

	ctx    context.Context
	cancel context.CancelFunc // has it leave the line

	// Under the name's lock:
	askers  int  // who asked for it and did not leave
	waiters int  // of them, who waits
	begun   bool // it has its slot
}

// request asks for a look-up and returns it: the one that there is, or a new one, or
// nil if the last began less than the name's pause ago. An asker that stops waiting leaves
// it; one that never leaves has it made in any case.
func (r *Resolver) request(n *name, by asker, then afterwards) (*flight, error) {
	if by == nobody {
		return nil, errNobody
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f, kept := n.flight, n.kept.Load()
	if f != nil && (f.begun || f.kept || !kept) {
		f.add(then)
		return f, nil
	}
	if f == nil && !n.asked.IsZero() && r.now().Sub(n.asked) < n.pause() {
		return nil, nil
	}
	next, err := r.launch(n, by, kept)
	if err != nil {
		return nil, err
	}
	if f != nil { // it waits among the others: the name was not kept when it came
		next.done = f.done
		f.cancel()
	}
	next.add(then)
	n.flight = next
	return next, nil
}

// afterwards is what an asker does when it has asked.
type afterwards uint8

const (
	goesOn afterwards = iota
	waits             // and leaves
)

func (f *flight) add(then afterwards) {
	f.askers++
	if then == waits {
		f.waiters++
	}
}

// launch starts a look-up, for whose name's lock is held, if there is room for it.
func (r *Resolver) launch(n *name, by asker, kept bool) (*flight, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if !kept && !r.places.Take(by) {
		return nil, noRoom(by)
	}
	f := &flight{done: make(chan struct{}), kept: kept, by: by}
	f.ctx, f.cancel = context.WithCancel(r.ctx)
	r.running.Go(func() { r.fly(n, f) })
	return f, nil
}

func noRoom(by asker) error {
	return fmt.Errorf("%w of %v; does this host's name server answer?", errBusy, by)
}

// leave says that one who waited for a look-up waits no more. If that was the last one,
// and the look-up has no slot yet, it is not made.
func (n *name) leave(f *flight) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f.askers--
	f.waiters--
	if f.askers == 0 && !f.begun && n.flight == f {
		n.flight = nil
		f.cancel()
	}
}

// fly does one look-up, when it has its slot.
func (r *Resolver) fly(n *name, f *flight) {
	defer r.retire(f)
	release, err := r.slot(f)
	if err == nil {
		defer release()
	}
	if !n.begin(f, r.now()) {
		return
	}
	if err != nil {
		err = errClosed
	} else {
		err = r.ask(n, f)
	}
	r.tell(n, n.end(f, err), err)
}

// slot waits for a slot.
func (r *Resolver) slot(f *flight) (release func(), err error) {
	if !f.kept {
		return r.otherSlots.Acquire(f.ctx, f.by)
	}
	select {
	case r.keptSlots <- struct{}{}:
		return func() { <-r.keptSlots }, nil
	case <-f.ctx.Done():
		return nil, f.ctx.Err()
	}
}

// retire gives the look-up's place back.
func (r *Resolver) retire(f *flight) {
	f.cancel()
	if f.kept {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places.Give(f.by)
}

// begin reports whether the look-up is still wanted, and from now on it is the one.
func (n *name) begin(f *flight, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flight != f {
		return false
	}
	f.begun, n.asked = true, now
	return true
}

// end remembers how a look-up ended, tells those who wait for it, and returns how the
// one before it did.
func (n *name) end(f *flight, err error) (before error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, n.failure, n.flight = n.failure, err, nil
	close(f.done)
	return before
}
