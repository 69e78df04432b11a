package injector

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

const theToken = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJiaWxsaW5nIn0.c2lnbmF0dXJl"

const bearer = "Authorization: Bearer " + theToken + "\r\n"

var (
	original = netip.MustParseAddrPort("192.0.2.10:80")
	image    = workload.Image{PID: 4711, StartTime: 99, ExecID: 3}
	billing  = &workload.Identity{Name: "billing"}
)

// ledger is a destination that gets a token.
func ledger(change ...func(*workload.Destination)) *workload.Destination {
	d := &workload.Destination{
		Name: "ledger", Hosts: []string{"ledger.internal"}, Ports: []uint16{80}, Audience: "https://ledger.internal",
		Identities: []string{"billing"}, Enforce: true,
		ExistingAuthorization: workload.ReplaceAuthorization, OnFailure: workload.FailClosed,
	}
	for _, f := range change {
		f(d)
	}
	return d
}

// policy is one configuration of the fake world.
type policy struct {
	identity     *workload.Identity
	err          error
	destinations []*workload.Destination
	any          *workload.Destination // for every host
	byKernel     bool                  // what the kernel says of a process is enough to identify it
}

func (p *policy) Identify(process *workload.Process) (*workload.Identity, error) {
	if process.Executable == "" && !p.byKernel {
		return nil, nil
	}
	return p.identity, p.err
}

func (p *policy) Destination(host string, port uint16) *workload.Destination {
	if p.any != nil {
		return p.any
	}
	for _, d := range p.destinations {
		if d.Hosts[0] == host && d.Ports[0] == port {
			return d
		}
	}
	return nil
}

func (p *policy) AtPort(port uint16) (at []*workload.Destination) {
	if p.any != nil {
		return []*workload.Destination{p.any}
	}
	for _, d := range p.destinations {
		if d.Ports[0] == port {
			at = append(at, d)
		}
	}
	return at
}

// world is everything around an injector: it implements the interfaces that the
// package consumes, and holds a listener in the place of the destination.
type world struct {
	t        testing.TB
	server   *Server
	front    net.Listener // the injector's
	back     *net.TCPListener
	accepted chan *net.TCPConn

	policies  atomic.Pointer[policy]
	gone      atomic.Bool // the image is not current any more
	noFlow    atomic.Bool
	uid       atomic.Uint32 // of callers
	unknown   atomic.Bool   // callers cannot be attributed any more
	known     atomic.Bool   // the kernel knows that they have an identity
	attribute func(context.Context) (*workload.Process, error)
	getToken  func(context.Context, token.Request) (token.Token, error)
	verify    func(host string, addr netip.AddrPort) error
	knows     func(d *workload.Destination, addr netip.AddrPort) bool
	servedBy  func(local, remote netip.AddrPort) error
	others    func(host string, addr netip.AddrPort) ([]netip.Addr, error)
	dial      func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error)

	uses       chan telemetry.Use
	bystanders atomic.Int32
	identified atomic.Pointer[string]
	claimed    atomic.Int32 // flows given out and not given back
	charged    atomic.Pointer[string]
	released   atomic.Pointer[workload.Share]
	// heldAtRelease is how many connections the injector held when one was given back.
	heldAtRelease atomic.Int32
	rejected      atomic.Int32
	lookedUpFor   atomic.Pointer[string] // the identity on whose account other addresses were asked for
	mu            sync.Mutex
	dialled       []netip.AddrPort
	log           strings.Builder
}

// newWorld starts an injector in a world where the caller is billing and its
// only destination is the ledger; changes are applied before it starts.
func newWorld(t testing.TB, changes ...func(*world, *Config)) *world {
	t.Helper()
	goroutines, sockets := runtime.NumGoroutine(), openSockets(t)
	w := &world{t: t, accepted: make(chan *net.TCPConn, 64), uses: make(chan telemetry.Use, 1<<12)}
	w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{ledger()}})
	tok, err := token.New(theToken, "id-1", time.Unix(1, 0), time.Unix(1e10, 0))
	must(t, err)
	w.attribute = func(context.Context) (*workload.Process, error) {
		return &workload.Process{Image: image, Executable: "/usr/local/bin/billing"}, nil
	}
	w.getToken = func(context.Context, token.Request) (token.Token, error) { return tok, nil }
	w.verify = func(string, netip.AddrPort) error { return nil }
	w.knows = func(_ *workload.Destination, addr netip.AddrPort) bool { return addr == original }
	w.servedBy = func(_, _ netip.AddrPort) error { return errors.New("asked without a reason") }
	w.others = func(string, netip.AddrPort) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	w.dial = func(ctx context.Context, _ netip.AddrPort) (*net.TCPConn, error) { return w.connect(ctx) }

	w.back = listen(t)
	go func() {
		for {
			c, err := w.back.AcceptTCP()
			if err != nil {
				close(w.accepted)
				return
			}
			w.accepted <- c
		}
	}()
	cfg := Config{
		Flows: w, Processes: w, Policies: policySource{w}, Tokens: w, Verifier: w, Servers: w, Dialer: w, Verdicts: w, Recorder: w,
		Log: slog.New(slog.NewTextHandler(w, nil)), Now: time.Now,
	}
	for _, change := range changes {
		change(w, &cfg)
	}
	w.server, err = New(cfg)
	must(t, err)
	w.front = listen(t)
	served, ctx := make(chan error, 1), t.Context()
	go func() { served <- w.server.Serve(ctx, w.front) }()
	t.Cleanup(func() {
		_ = w.back.Close()
		for c := range w.accepted {
			_ = c.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		must(t, <-served)
		if n := w.claimed.Load(); n != 0 {
			t.Errorf("of the flows that were looked up, %d more were not released than were", n)
		}
		eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "all sockets are closed", func() bool { return openSockets(t) <= sockets })
	})
	return w
}

func (w *world) setPolicy(p *policy) { w.policies.Store(p) }

func with(d *workload.Destination) func(*world, *Config) {
	return func(w *world, _ *Config) {
		w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{d}})
	}
}

func (w *world) connect(ctx context.Context) (*net.TCPConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.back.Addr().String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (w *world) Lookup(accepted syscall.Conn) (workload.Flow, error) {
	if w.noFlow.Load() {
		return workload.Flow{}, workload.ErrNoFlow
	}
	client := accepted.(*net.TCPConn).RemoteAddr().(*net.TCPAddr).AddrPort()
	w.claimed.Add(1)
	return workload.Flow{Kind: workload.FlowRedirected, Image: image, UID: w.uid.Load(), PlaceID: uint64(w.uid.Load()), Known: w.known.Load(), Client: client, Original: original}, nil
}

func (w *world) Charge(_ workload.Flow, identity string) workload.Share {
	w.charged.Store(&identity)
	return chargedShare
}

func (w *world) Release(f workload.Flow) {
	w.released.Store(&f.Share)
	w.heldAtRelease.Store(int32(w.server.Open()))
	w.claimed.Add(-1)
}

func (w *world) Attribute(ctx context.Context, _ workload.Flow) (*workload.Process, error) {
	if w.unknown.Load() {
		return nil, errors.New("no such process")
	}
	return w.attribute(ctx)
}
func (w *world) Current(i workload.Image) bool { return i == image && !w.gone.Load() }
func (w *world) Get(ctx context.Context, r token.Request) (token.Token, error) {
	return w.getToken(ctx, r)
}
func (w *world) Rejected(token.Request, token.Token) { w.rejected.Add(1) }
func (w *world) Verify(_ context.Context, _ *workload.Destination, host string, addr netip.AddrPort) error {
	return w.verify(host, addr)
}
func (w *world) Alternatives(_ context.Context, identity string, d *workload.Destination, host string, addr netip.AddrPort) ([]netip.Addr, error) {
	if d == nil {
		w.t.Errorf("asked for other addresses of %s, which is not registered", host)
	}
	w.lookedUpFor.Store(&identity)
	return w.others(host, addr)
}
func (w *world) Knows(d *workload.Destination, addr netip.AddrPort) bool { return w.knows(d, addr) }
func (w *world) ServedBy(_ context.Context, _ workload.Flow, _ workload.Selector, local, remote netip.AddrPort) error {
	return w.servedBy(local, remote)
}
func (w *world) Dial(ctx context.Context, _ workload.Flow, to netip.AddrPort) (*net.TCPConn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, to)
	w.mu.Unlock()
	return w.dial(ctx, to)
}
func (w *world) Bystander(workload.Flow)                 { w.bystanders.Add(1) }
func (w *world) Identified(_ workload.Flow, name string) { w.identified.Store(&name) }
func (w *world) Use(u telemetry.Use)                     { w.uses <- u }

// policySource has a Current of another type than Processes.
type policySource struct{ w *world }

func (p policySource) Current() Policy { return p.w.policies.Load() }

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// use waits for the next record and checks its outcome.
func (w *world) use(want workload.Outcome) telemetry.Use {
	w.t.Helper()
	select {
	case u := <-w.uses:
		if u.Outcome != want {
			w.t.Fatalf("outcome %q (%v), want %q", u.Outcome, u.Reason, want)
		}
		if u.Start.IsZero() || u.End.Before(u.Start) || u.Image != image {
			w.t.Fatalf("incomplete record: %+v", u)
		}
		return u
	case <-time.After(patience):
		w.t.Fatalf("no record, want outcome %q", want)
		panic("unreachable")
	}
}

// client connects as the redirected process.
func (w *world) client() *peer {
	w.t.Helper()
	c, err := net.Dial("tcp", w.front.Addr().String())
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return &peer{w.t, c.(*net.TCPConn), "client"}
}

// upstream waits for the connection to the destination.
func (w *world) upstream() *peer {
	w.t.Helper()
	select {
	case c := <-w.accepted:
		w.t.Cleanup(func() { _ = c.Close() })
		return &peer{w.t, c, "upstream"}
	case <-time.After(patience):
		w.t.Fatal("nothing was dialled")
		panic("unreachable")
	}
}

// pair is a client and the connection that the injector made for it.
func (w *world) pair() (client, upstream *peer) {
	w.t.Helper()
	client = w.client()
	return client, w.upstream()
}

// peer is one end of a scripted conversation.
type peer struct {
	t    testing.TB
	conn *net.TCPConn
	name string
}

func (p *peer) send(s string) {
	p.t.Helper()
	if s == "" {
		return
	}
	must(p.t, p.conn.SetWriteDeadline(time.Now().Add(patience)))
	if _, err := p.conn.Write([]byte(s)); err != nil {
		p.t.Fatalf("%s: send: %v", p.name, err)
	}
}

// expect reads exactly what is wanted.
func (p *peer) expect(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	must(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := io.ReadFull(p.conn, got)
	if string(got[:n]) != want {
		p.t.Fatalf("%s received\n%q, want\n%q (%v)", p.name, got[:n], want, err)
	}
}

// expectProblem reads an answer of the injector's own up to its end.
func (p *peer) expectProblem(status string, outcome workload.Outcome) string {
	p.t.Helper()
	got := p.rest()
	if !strings.HasPrefix(got, "HTTP/1.1 "+status+" ") || !strings.Contains(got, `"outcome":"`+string(outcome)+`"`) ||
		!strings.Contains(got, "\r\nContent-Type: application/problem+json\r\n") {
		p.t.Fatalf("%s received %q, want a %s with outcome %s", p.name, got, status, outcome)
	}
	if strings.Contains(got, theToken) {
		p.t.Fatalf("the answer holds the token: %q", got)
	}
	return got
}

// rest reads to the end of the connection, which must not be a reset.
func (p *peer) rest() string {
	p.t.Helper()
	must(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(p.conn)
	if err != nil {
		p.t.Fatalf("%s: read to the end: %v after %q", p.name, err, got)
	}
	return string(got)
}

func (p *peer) expectEnd() {
	p.t.Helper()
	if got := p.rest(); got != "" {
		p.t.Fatalf("%s received %q, want the end", p.name, got)
	}
}

func (p *peer) expectReset() {
	p.t.Helper()
	must(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(p.conn)
	if !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("%s received %q and %v, want a reset", p.name, got, err)
	}
}

func (p *peer) closeWrite() { must(p.t, p.conn.CloseWrite()) }
func (p *peer) close()      { must(p.t, p.conn.Close()) }
func (p *peer) reset()      { reset(p.conn) }

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return ln.(*net.TCPListener)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("waited in vain until %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// openSockets counts sockets only: the runtime pools the pipes of splice.
func openSockets(t testing.TB) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func readFull(p *peer, b []byte) error {
	_, err := io.ReadFull(p.conn, b)
	return err
}
