package injector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

var errNoAnswer = errors.New("no address of the destination answers")

// attempt is how dialling one address ended.
type attempt struct {
	conn *net.TCPConn
	to   netip.AddrPort
	err  error
}

// goal is a host of a registered destination.
type goal struct {
	destination *workload.Destination
	host        string
	identity    string // whose look-ups it may take; if empty, it takes none
}

// found is what is known of a goal's other addresses.
type found struct {
	addrs []netip.Addr
	err   error
}

// race connects to where the client wanted to go, and if that address fails or
// is slow, to other addresses of the registered destination that the client's
// first request names: connect() has succeeded for the client already, so that it
// cannot fail over by itself. It is happy eyeballs (RFC 8305) with a head start
// for the address that the client chose. A host that is not registered, or an
// address that is not that host's, leads nowhere else.
type race struct {
	c        *conn
	results  chan attempt
	resolved chan found
	running  int
	firstErr error
	whyNot   error // there is no other address

	goals <-chan goal // yields the goal once it is known, or is closed
	goal  goal
	next  []netip.AddrPort // still to be tried

	slow     bool // the address tried last had its time, or failed
	answered bool // the look-up of the goal is over
	asking   bool // it has begun
}

// connect returns the first connection that is established.
func (c *conn) connect(ctx context.Context) (*net.TCPConn, netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, c.srv.limits().Dial)
	r := &race{c: c, results: make(chan attempt), resolved: make(chan found, 1), goals: c.goals}
	defer r.abandon(cancel)
	r.dial(ctx, c.flow.Original)
	step := time.NewTimer(fallbackDelay)
	defer step.Stop()
	for {
		select {
		case a := <-r.results:
			r.running--
			if a.err == nil {
				return a.conn, a.to, nil
			}
			r.lost(a)
			step.Reset(failoverWait)
		case goal, ok := <-r.goals:
			r.goals, r.goal = nil, goal
			r.answered = r.answered || !ok
		case f := <-r.resolved:
			r.answered, r.whyNot = true, f.err
			r.next = alternatives(c.flow.Original, f.addrs)
		case <-step.C:
			r.slow = true
			if r.running == 0 && r.goal.destination == nil {
				r.answered = true // its client had its time to say whom it wants
			}
		case <-ctx.Done():
			return nil, netip.AddrPort{}, r.fail(ctx.Err())
		}
		if r.advance(ctx) {
			step.Reset(fallbackDelay)
		}
		if r.running == 0 && r.answered && len(r.next) == 0 {
			return nil, netip.AddrPort{}, r.fail(errNoAnswer)
		}
	}
}

// advance starts what may be started now, and reports whether it dialled.
func (r *race) advance(ctx context.Context) bool {
	if !r.slow {
		return false
	}
	if r.goal.destination != nil && !r.asking {
		r.asking = true
		r.resolve(ctx)
	}
	if len(r.next) == 0 {
		return false
	}
	to := r.next[0]
	r.next, r.slow = r.next[1:], false
	r.dial(ctx, to)
	return true
}

func (r *race) dial(ctx context.Context, to netip.AddrPort) {
	r.running++
	r.c.srv.tasks.Go(func() {
		conn, err := r.c.srv.dialer.Dial(ctx, r.c.flow, to)
		r.results <- attempt{conn, to, err}
	})
}

func (r *race) resolve(ctx context.Context) {
	r.c.srv.tasks.Go(func() {
		addrs, err := r.c.srv.verifier.Alternatives(ctx, r.goal.identity, r.goal.destination, r.goal.host, r.c.flow.Original)
		r.resolved <- found{addrs, err}
	})
}

func (r *race) lost(a attempt) {
	r.slow = true // the next one need not wait
	if r.firstErr == nil || a.to == r.c.flow.Original {
		r.firstErr = a.err
	}
}

func (r *race) fail(err error) error {
	if r.firstErr != nil {
		err = r.firstErr
	}
	if r.whyNot != nil {
		return fmt.Errorf("dial %v: %w (and no other address: %w)", r.c.flow.Original, err, r.whyNot)
	}
	return fmt.Errorf("dial %v: %w", r.c.flow.Original, err)
}

// abandon closes what comes second.
func (r *race) abandon(cancel context.CancelFunc) {
	cancel()
	if r.running == 0 {
		return
	}
	r.c.srv.tasks.Go(func() {
		for ; r.running > 0; r.running-- {
			if a := <-r.results; a.conn != nil {
				_ = a.conn.Close()
			}
		}
	})
}

// alternatives are the addresses worth trying after the original, the other
// family first. A name must not lead a caller to places that its own choice of
// address did not: loopback, link-local and the like only if the original was.
func alternatives(original netip.AddrPort, addrs []netip.Addr) []netip.AddrPort {
	var same, other []netip.AddrPort
	for _, a := range addrs {
		a = a.Unmap()
		to := netip.AddrPortFrom(a, original.Port())
		if !a.IsValid() || to == original || scope(a) != scopeGlobal && scope(a) != scope(original.Addr()) ||
			slices.Contains(same, to) || slices.Contains(other, to) {
			continue
		}
		if a.Is4() == original.Addr().Is4() {
			same = append(same, to)
		} else {
			other = append(other, to)
		}
	}
	all := append(other, same...)
	return all[:min(len(all), maxAlternatives)]
}

type addressScope uint8

const (
	scopeGlobal addressScope = iota
	scopeLoopback
	scopeLinkLocal
	scopeNobody // unspecified, multicast
)

func scope(a netip.Addr) addressScope {
	switch {
	case a.IsLoopback():
		return scopeLoopback
	case a.IsLinkLocalUnicast():
		return scopeLinkLocal
	case a.IsUnspecified(), a.IsMulticast(), a.IsInterfaceLocalMulticast():
		return scopeNobody
	}
	return scopeGlobal
}

// localOf is our own end of an upstream connection.
func localOf(c *net.TCPConn) netip.AddrPort {
	addr, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return addr.AddrPort()
}
