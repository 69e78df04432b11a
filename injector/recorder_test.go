package injector

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// recorder stands in the place of the destination and of telemetry, and keeps
// what each of many clients' conversations became at either of them. As a server
// it reads requests strictly and answers each; what is no request it reads to the
// end without a word.
type recorder struct {
	w       *world
	early   bool // it answers a request as soon as it has its head
	clients atomic.Uint32
	dialing sync.Mutex // pairs what is dialled with what is accepted

	mu    sync.Mutex // guards what follows, talks among it
	talks map[netip.AddrPort]*talk
}

// talk is what one client's conversation became.
type talk struct {
	sent     string
	received string // by the client
	lost     error  // what the client's reading ended with, if not in peace

	dialled  bool
	arrived  string    // every byte at the destination
	messages []message // the requests in it
	odd      error     // why what follows them is none
	answers  []string
	early    []int         // how much had arrived when it answered a request of which not all had
	answered bool          // the message that is being read was answered so
	wrote    atomic.Bool   // it has answered a request
	ended    chan struct{} // the destination's side is over

	uses []telemetry.Use
}

// record puts a recorder into a world.
func record(r **recorder) func(*world, *Config) {
	return func(w *world, c *Config) {
		*r = &recorder{w: w, talks: map[netip.AddrPort]*talk{}}
		c.Dialer, c.Recorder = *r, *r
	}
}

func (r *recorder) of(client netip.AddrPort) *talk {
	t := r.talks[client]
	if t == nil {
		t = &talk{ended: make(chan struct{})}
		r.talks[client] = t
	}
	return t
}

func (r *recorder) Use(u telemetry.Use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(u.Peer.Client)
	t.uses = append(t.uses, u)
}

func (r *recorder) Dial(ctx context.Context, flow workload.Flow, _ netip.AddrPort) (*net.TCPConn, error) {
	r.dialing.Lock()
	defer r.dialing.Unlock()
	near, err := r.w.connect(ctx)
	if err != nil {
		return nil, err
	}
	far := <-r.w.accepted
	for far.RemoteAddr().String() != near.LocalAddr().String() { // given up when it was half made
		_ = far.Close()
		far = <-r.w.accepted
	}
	r.mu.Lock()
	t := r.of(flow.Client)
	t.dialled = true
	r.mu.Unlock()
	go r.serve(t, far)
	return near, nil
}

// serve answers what arrives. Until ended is closed, the talk's own side of it
// belongs to this goroutine.
func (r *recorder) serve(t *talk, c *net.TCPConn) {
	defer close(t.ended)
	defer func() { _ = c.Close() }()
	var arrived strings.Builder
	in, read := make([]byte, 4<<10), 0
	for {
		n, err := c.Read(in)
		arrived.Write(in[:n])
		t.arrived = arrived.String()
		for t.odd == nil && read < len(t.arrived) {
			m, err := readMessage(t.arrived[read:])
			if err == errUnfinished {
				if r.early && m.method != "" && !t.answered {
					t.answered = true
					t.early = append(t.early, len(t.arrived))
					t.answer(c, m)
				}
				break
			}
			if t.odd = err; err != nil {
				break
			}
			read += len(m.raw)
			t.keep(m)
			if !t.messages[len(t.messages)-1].early {
				t.answer(c, m)
			}
		}
		if err != nil {
			t.keepRest(read)
			return
		}
	}
}

// keep keeps a request that arrived.
func (t *talk) keep(m message) {
	m.early, t.answered = t.answered, false
	t.messages = append(t.messages, m)
}

func (t *talk) answer(c *net.TCPConn, m message) {
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 2\r\n\r\n", len(t.answers)+1)
	switch m.method {
	case "HEAD":
	case "CONNECT":
		answer = "HTTP/1.1 405 No Tunnel\r\nContent-Length: 0\r\n\r\n"
	default:
		answer += "hi"
	}
	for _, wanted := range m.values(answerField) {
		b, _ := base64.StdEncoding.DecodeString(wanted)
		answer = string(b)
	}
	t.answers = append(t.answers, answer)
	_, _ = c.Write([]byte(answer)) // a client that has gone misses it
	t.wrote.Store(true)
}

// keepRest keeps a last request whose body did not arrive whole.
func (t *talk) keepRest(read int) {
	if t.odd != nil || read == len(t.arrived) {
		return
	}
	m, err := readMessage(t.arrived[read:])
	if err == errUnfinished && m.method != "" {
		t.keep(m)
		return
	}
	t.odd = fmt.Errorf("%w: %q at its end", errNotStrict, t.arrived[read:])
}

// converse plays the pieces of a client, each of which the injector has read
// before the next one is sent, and returns what became of them.
func (r *recorder) converse(pieces ...string) (*talk, error) {
	c, err := (&net.Dialer{LocalAddr: r.nextClient()}).Dial("tcp", r.w.front.Addr().String())
	if err != nil {
		return nil, err
	}
	client := c.(*net.TCPConn)
	defer func() { _ = client.Close() }()
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	near := client.LocalAddr().(*net.TCPAddr).AddrPort()
	from := netip.AddrPortFrom(near.Addr().Unmap(), near.Port())
	for i, piece := range pieces {
		if _, err := io.WriteString(client, piece); err != nil {
			break // it was refused already
		}
		if i < len(pieces)-1 {
			took := r.hasRead
			if strings.Contains(piece, answerField) {
				took = r.hasRelayed
			}
			if r.early {
				due := answersDue(strings.Join(pieces[:i+1], "")) * len("HTTP/1.1 200 OK\r\nX-Number: 1\r\n"+"Content-Length: 2\r\n\r\nhi")
				took = func(c *conn, t *talk) bool { return r.isOver(c, t) || r.hasRead(c, t) && unread(client) >= due }
			}
			if err := r.until(from, took); err != nil {
				return nil, err
			}
		}
	}
	_ = client.CloseWrite() // it may have been reset
	received, lost := io.ReadAll(client)
	_ = client.Close()
	if err := r.until(from, r.isOver); err != nil {
		return nil, err
	}
	r.mu.Lock()
	t := r.of(from)
	delete(r.talks, from)
	r.mu.Unlock()
	if t.dialled {
		<-t.ended
	}
	t.sent, t.received, t.lost = strings.Join(pieces, ""), string(received), lost
	return t, nil
}

// nextClient returns a loopback address of its own for each client: a port could
// be taken again before its last conversation was collected.
func (r *recorder) nextClient() *net.TCPAddr {
	n := r.clients.Add(1)
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}
}

var errWaited = errors.New("waited in vain for the injector")

// until waits for a condition of the injector's connection to a client.
func (r *recorder) until(client netip.AddrPort, holds func(*conn, *talk) bool) error {
	pause := 20 * time.Microsecond
	for end := time.Now().Add(patience); ; pause = min(2*pause, 2*time.Millisecond) {
		r.mu.Lock()
		t := r.of(client)
		ok := holds(r.w.connOf(client), t)
		r.mu.Unlock()
		if ok {
			return nil
		}
		if time.Now().After(end) {
			return errWaited
		}
		time.Sleep(pause)
	}
}

// isOver reports whether the injector has forgotten a connection that it had.
func (r *recorder) isOver(c *conn, t *talk) bool { return c == nil && (t.dialled || len(t.uses) > 0) }

func (r *recorder) hasRead(c *conn, t *talk) bool {
	return r.isOver(c, t) || c != nil && unreadBy(c) == 0
}

// answerField names the bytes, in base64, with which a request wants to be answered.
const answerField = "X-Answer"

// hasRelayed reports whether the injector has read the answer to a first request.
func (r *recorder) hasRelayed(c *conn, t *talk) bool {
	return r.isOver(c, t) || c != nil && t.wrote.Load() && unreadBy(c) == 0 && c.hasDialled() && unread(c.upstream) == 0
}

// connOf returns the injector's connection to a client, or nil.
func (w *world) connOf(client netip.AddrPort) (found *conn) {
	w.server.eachConn(func(c *conn) {
		if c.flow.Client == client {
			found = c
		}
	})
	return found
}

// unreadBy returns how many bytes of a connection's client the injector has not
// yet read; none once it closed.
func unreadBy(c *conn) int { return unread(c.client) }

func unread(c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
