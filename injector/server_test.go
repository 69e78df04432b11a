package injector

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestNewNeedsEveryPart(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Flows is missing") {
		t.Errorf("error %v", err)
	}
}

func TestConnectionWithoutFlowIsReset(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) { w.noFlow.Store(true) })
	w.expectRefused()
	eventually(t, "it is logged", func() bool { return strings.Contains(w.logged(), workload.ErrNoFlow.Error()) })
}

// expectRefused connects and wants a reset at once.
func (w *world) expectRefused() {
	w.t.Helper()
	c, err := net.Dial("tcp", w.front.Addr().String())
	if err == nil { // else the reset came first
		defer func() { _ = c.Close() }()
		must(w.t, c.SetReadDeadline(time.Now().Add(patience)))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("error %v, want a reset", err)
	}
}

func TestConnectionCap(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.Limits.Connections = 2 })
	first, _ := w.pair()
	second, within := w.pair()
	for range 3 {
		w.expectRefused()
		second.send(get + "\r\n") // those within are served meanwhile
		within.expect(get + bearer + "\r\n")
		within.send(ok)
		second.expect(ok)
	}
	first.reset()
	eventually(t, "there is room again", func() bool { return w.server.Open() == 1 })
	third, upstream := w.pair()
	third.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
}

// A process that has no descriptor left accepts again when it has one, and does
// not spin meanwhile.
func TestAcceptWithoutDescriptors(t *testing.T) {
	w := newWorld(t)
	ln := &exhausted{Listener: listen(t), since: time.Now()}
	ln.left.Store(3)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- w.server.Serve(ctx, ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer func() { _ = c.Close() }()
	client, upstream := &peer{t, c.(*net.TCPConn), "client"}, w.upstream()
	if waited := time.Since(ln.since); waited < 3*acceptPause {
		t.Errorf("3 failures took %v, want a pause of %v after each", waited, acceptPause)
	}
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	if n := strings.Count(w.logged(), "limit of open files"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	cancel()
	must(t, <-done)
}

// exhausted is a listener that at first cannot accept.
type exhausted struct {
	net.Listener
	since time.Time
	left  atomic.Int32
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// shutdown runs Shutdown and returns what it will return.
func (w *world) shutdown(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- w.server.Shutdown(ctx) }()
	eventually(w.t, "the server drains", w.server.draining.Load)
	return done
}

func TestShutdown(t *testing.T) {
	w := newWorld(t)
	idle, idleUpstream := w.pair()
	idle.send(get + "\r\n")
	idleUpstream.expect(get + bearer + "\r\n")
	idleUpstream.send(ok)
	idle.expect(ok)
	silent, _ := w.pair()
	active, activeUpstream := w.pair()
	active.send("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 4\r\n\r\nab")
	activeUpstream.expect("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 4\r\n" + bearer + "\r\nab")

	done := w.shutdown(context.Background())
	idle.expectEnd()
	silent.expectEnd()
	idle.close()
	silent.close()
	active.send("cd")
	activeUpstream.expect("cd")
	activeUpstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
	active.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
	activeUpstream.send("hi")
	active.expect("hi")
	active.expectEnd()
	active.close()
	must(t, <-done)
	if n := w.server.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

func TestShutdownEndsWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t, with(ledger(open)))
	client, upstream := w.pair()
	client.send("\x16")
	upstream.expect("\x16")
	ctx, cancel := context.WithCancel(context.Background())
	done := w.shutdown(ctx)
	client.send("still relayed")
	upstream.expect("still relayed")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	client.expectReset()
	upstream.expectReset()
}

func TestServeEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ln := listen(t)
	go func() { done <- w.server.Serve(ctx, ln) }()
	cancel()
	must(t, <-done)
	client, upstream := w.pair() // the other listener goes on
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
}

// shortLimits are far apart in sweeps, which the tests run themselves; the one
// that the server may add to them every second makes no difference.
func shortLimits(_ *world, c *Config) {
	c.Limits = Limits{
		Head: 100 * time.Second, Decision: 200 * time.Second, Stall: 300 * time.Second,
		Idle: 400 * time.Second, Relay: 500 * time.Second,
	}
}

func (w *world) pass(d time.Duration) {
	for range d / sweepInterval {
		w.server.sweep()
	}
}

// passUntilEnded lets time pass until no connection is left. How much it takes
// depends on when the connection's goroutines last looked at the clock, which may
// be after the test saw what they did.
func (w *world) passUntilEnded() {
	w.t.Helper()
	eventually(w.t, "the connection is ended", func() bool {
		w.pass(20 * time.Second)
		return w.server.Open() == 0
	})
}

// waitFor lets the test go on when a connection has come to where it should be.
func (w *world) waitFor(what string, in func(c *conn) bool) {
	w.t.Helper()
	eventually(w.t, what, func() (found bool) {
		w.server.eachConn(func(c *conn) { found = found || in(c) })
		return found
	})
}

func inPhase(p phase) func(*conn) bool {
	return func(c *conn) bool {
		now, _ := c.requests.watch.load(0)
		return now == p
	}
}

// atRest is the phase of a connection on which nothing is under way: the peers can
// have seen what was sent before its goroutines wait for more.
func atRest(c *conn) bool {
	request, _ := c.requests.watch.load(0)
	response, _ := c.responses.watch.load(0)
	return request == phaseReading && response == phaseReading
}

func TestSlowHead(t *testing.T) {
	w := newWorld(t, shortLimits)
	client, _ := w.pair()
	client.send(get)
	w.waitFor("the head has begun", inPhase(phaseHead))
	w.pass(90 * time.Second)
	client.send("X: y\r\n") // does not start the time anew
	w.pass(20 * time.Second)
	client.expectProblem("408", workload.BadRequest)
	if u := w.use(workload.BadRequest); !errors.Is(u.Reason, errHeadTime) {
		t.Errorf("reason %v", u.Reason)
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	w := newWorld(t, shortLimits)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	w.waitFor("it is atRest", atRest)
	w.pass(390 * time.Second)
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	w.waitFor("it is atRest", atRest)
	w.pass(390 * time.Second)
	if n := w.server.Open(); n != 1 {
		t.Fatalf("%d connections are open", n)
	}
	w.passUntilEnded()
	client.expectEnd()
	upstream.expectEnd()
}

func TestUnansweredRequestIsReset(t *testing.T) {
	w := newWorld(t, shortLimits)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	w.passUntilEnded()
	client.expectReset()
	if u := w.use(workload.Injected); !errors.Is(u.Reason, errIdle) {
		t.Errorf("reason %v", u.Reason)
	}
}

func TestIdleRelayLastsLonger(t *testing.T) {
	w := newWorld(t, shortLimits, with(ledger(open)))
	client, upstream := w.pair()
	client.send("\x16")
	upstream.expect("\x16")
	w.waitFor("it is atRest", atRest)
	w.pass(490 * time.Second)
	client.send("x")
	upstream.expect("x")
	w.waitFor("it is atRest", atRest)
	w.pass(490 * time.Second)
	upstream.send("y")
	client.expect("y")
	w.passUntilEnded()
	client.expectReset()
}

func TestStalledWriteIsReset(t *testing.T) {
	w := newWorld(t, shortLimits)
	client, upstream := w.pair()
	must(t, client.conn.SetReadBuffer(4096))
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	wrote := make(chan error, 1)
	go func() {
		_, err := upstream.conn.Write([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(strings.Repeat("x", 32<<20))))
		wrote <- err
	}()
	w.waitFor("nobody takes the response", func(c *conn) bool {
		now, _ := c.responses.watch.load(0)
		return now == phaseWriting
	})
	w.passUntilEnded()
	if <-wrote == nil {
		t.Error("the response was taken")
	}
	if u := w.use(workload.Injected); !errors.Is(u.Reason, errStalled) {
		t.Errorf("reason %v", u.Reason)
	}
}

// A decision that takes too long ends as token_unavailable, and the next one has
// its own time.
func TestSlowDecision(t *testing.T) {
	first, asked := true, make(chan struct{})
	w := newWorld(t, shortLimits, with(ledger(open)), func(w *world, _ *Config) {
		get := w.getToken
		w.getToken = func(ctx context.Context, r token.Request) (token.Token, error) {
			if first {
				first = false
				close(asked)
				<-ctx.Done()
			}
			if ctx.Err() != nil {
				return token.Token{}, ctx.Err()
			}
			return get(ctx, r)
		}
	})
	client, upstream := w.pair()
	client.send(get + "\r\n")
	<-asked // before that, the same phase is attribution's
	w.pass(210 * time.Second)
	upstream.expect(get + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.TokenUnavailable)
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
}

func TestWarningsAreThrottled(t *testing.T) {
	w := newWorld(t, unverified)
	client, upstream := w.pair()
	for range 10 {
		client.send(get + "\r\n")
		upstream.expect(get + "\r\n")
		upstream.send(ok)
		client.expect(ok)
	}
	if n := strings.Count(w.logged(), "goes on without a token"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if log := w.logged(); strings.Contains(log, theToken) || strings.Contains(log, "secret=1") {
		t.Errorf("the log holds what it must not: %s", log)
	}
}

// The bytes of a head do not prolong its time; those of anything else do.
func TestWatch(t *testing.T) {
	var ticks atomic.Uint32
	w := watch{ticks: &ticks}
	for _, c := range []struct {
		phase phase
		age   uint32
	}{{phaseReading, 0}, {phaseHead, 7}} {
		w.enter(c.phase)
		ticks.Add(7)
		w.progress()
		if p, age := w.load(ticks.Load()); p != c.phase || age != c.age {
			t.Errorf("phase %d, age %d; want %d, %d", p, age, c.phase, c.age)
		}
	}
}

type lookups func(syscall.Conn) (workload.Flow, error)

func (l lookups) Lookup(accepted syscall.Conn) (workload.Flow, error) { return l(accepted) }
func (l lookups) Charge(f workload.Flow, _ string) workload.Share     { return f.Share }
func (l lookups) Release(workload.Flow)                               {}

// A connection that was reset while it waited to be accepted has bytes that could
// still be read. They are of somebody who is gone.
func TestDeadConnectionIsNotRead(t *testing.T) {
	w := newWorld(t)
	ln := listen(t)
	dead, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	_, err = dead.Write([]byte("GET / HTTP/1.1\r\nHost: ledger.internal\r\n\r\n"))
	must(t, err)
	must(t, dead.(*net.TCPConn).SetLinger(0))
	must(t, dead.Close())
	live, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer live.Close()
	served, ctx := make(chan error, 1), t.Context()
	go func() { served <- w.server.Serve(ctx, ln) }()
	_, err = live.Write([]byte("GET /live HTTP/1.1\r\nHost: ledger.internal\r\n\r\n"))
	must(t, err)
	upstream := <-w.accepted // of the live one: the dead one stood before it
	defer upstream.Close()
	first := make([]byte, len("GET /live"))
	_, err = io.ReadFull(upstream, first)
	must(t, err)
	if string(first) != "GET /live" {
		t.Errorf("the first request upstream began with %q", first)
	}
	must(t, ln.Close())
	must(t, <-served)
}

func TestTheKernelIsToldOfAnIdentity(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", w.front.Addr().String())
	must(t, err)
	defer conn.Close()
	eventually(t, "the kernel is told", func() bool { name := w.identified.Load(); return name != nil && *name == billing.Name })
}

// A flow of another kind is none of ours.
func TestForeignFlowIsReset(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) {
		c.Flows = lookups(func(syscall.Conn) (workload.Flow, error) {
			return workload.Flow{Kind: workload.FlowLocalAPI}, nil
		})
	})
	w.expectRefused()
}

func TestServeAfterShutdown(t *testing.T) {
	w := newWorld(t)
	must(t, w.server.Shutdown(context.Background()))
	ln := listen(t)
	must(t, w.server.Serve(t.Context(), ln))
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
}
