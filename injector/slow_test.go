package injector

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// steadyLimits never end a connection for being idle, in the time of these tests.
func steadyLimits(w *world, c *Config) {
	shortLimits(w, c)
	c.Limits.Idle, c.Limits.Relay = 1e7*time.Second, 1e7*time.Second
}

// served makes a request on a connection of its own, which is answered at once.
func (w *world) served() {
	w.t.Helper()
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	client.close()
	upstream.expectEnd()
	upstream.close()
	w.use(workload.Injected)
}

// Many clients send one byte of a head at a time and never end it. None of them
// has more time for that, none holds more than a buffer, and others are served.
func TestManySlowHeads(t *testing.T) {
	const clients, limit = 200, 40 << 10 // 16 KiB of buffer, an idle pair, the test's own sockets
	w := newWorld(t, shortLimits)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var slow []*peer
	for range clients {
		client, upstream := w.pair()
		client.send(get + "X: ")
		slow = append(slow, client, upstream)
	}
	eventually(t, "all heads have begun", func() bool { return w.count(inPhase(phaseHead)) == clients })
	for range 9 {
		w.pass(10 * time.Second)
		for i := 0; i < len(slow); i += 2 {
			slow[i].send("y")
		}
		w.served()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)
	t.Logf("%d bytes a slow pair", used/clients)
	if used/clients > limit {
		t.Errorf("%d bytes a slow pair, want at most %d", used/clients, limit)
	}
	w.pass(20 * time.Second)
	for i := 0; i < len(slow); i += 2 {
		slow[i].expectProblem("408", workload.BadRequest)
		slow[i].close()
	}
	eventually(t, "all of them are gone", func() bool { return w.server.Open() == 0 })
}

// count returns how many connections have come to where they should be.
func (w *world) count(in func(*conn) bool) (n int) {
	w.server.eachConn(func(c *conn) {
		if in(c) {
			n++
		}
	})
	return n
}

// stream is one way that bytes go through the injector without an end.
type stream struct {
	upload bool   // from the client
	open   string // what the client begins with
	arrive string // as what that arrives
	answer string // what the server begins with
	frame  func(string) string
	opaque bool
}

func plain(s string) string { return s }
func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const (
	post       = "POST / HTTP/1.1\r\nHost: ledger.internal\r\n"
	endless    = "Content-Length: 1000000000\r\n"
	endlessPut = post + endless
)

var streams = map[string]stream{
	"upload of a length": {upload: true, open: endlessPut + "\r\n", arrive: endlessPut + bearer + "\r\n", frame: plain},
	"chunked upload": {upload: true, open: post + "Transfer-Encoding: chunked\r\n\r\n",
		arrive: post + "Transfer-Encoding: chunked\r\n" + bearer + "\r\n", frame: chunk},
	"upload of anything": {upload: true, open: "\x16", arrive: "\x16", frame: plain, opaque: true},
	"response of a length": {open: get + "\r\n", arrive: get + bearer + "\r\n",
		answer: "HTTP/1.1 200 OK\r\n" + endless + "\r\n", frame: plain},
	"chunked response": {open: get + "\r\n", arrive: get + bearer + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", frame: chunk},
	"response up to the end": {open: get + "\r\n", arrive: get + bearer + "\r\n", answer: "HTTP/1.1 200 OK\r\n\r\n", frame: plain},
	"anything":               {open: "\x16", arrive: "\x16", answer: "x", frame: plain, opaque: true},
}

// start opens a connection for the stream and returns its two ends.
func (s stream) start(w *world) (from, to *peer) {
	w.t.Helper()
	client, upstream := w.pair()
	client.send(s.open)
	upstream.expect(s.arrive)
	upstream.send(s.answer)
	client.expect(s.answer)
	if s.upload {
		return client, upstream
	}
	return upstream, client
}

// A stream that trickles is not idle, after a burst that the kernel was asked to
// move as well; when it stops, it ends.
func TestTricklingStreams(t *testing.T) {
	burst := strings.Repeat("x", 2*largeBuffer)
	for name, s := range streams {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shortLimits, with(ledger(open)))
			from, to := s.start(w)
			sent := make(chan struct{})
			go func() { defer close(sent); from.send(s.frame(burst)) }()
			to.expect(s.frame(burst))
			<-sent
			for range 5 {
				w.waitFor("all was passed on", passedOn)
				w.pass(390 * time.Second)
				from.send(s.frame("y"))
				to.expect(s.frame("y"))
				w.served()
			}
			w.passUntilEnded()
			to.expectReset()
		})
	}
}

// passedOn reports that no write is under way, nor anything written that the peers
// have not acknowledged: they may delay that.
func passedOn(c *conn) bool {
	if !c.hasDialled() || inPhase(phaseWriting)(c) {
		return false
	}
	response, _ := c.responses.watch.load(0)
	_, toClient := sent(c.client)
	_, toUpstream := sent(c.upstream)
	return response != phaseWriting && !toClient && !toUpstream
}

// Whoever takes no byte is reset, however the bytes are moved, and holds nobody up
// meanwhile.
func TestStalledStreams(t *testing.T) {
	for name, s := range streams {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, steadyLimits, with(ledger(open)))
			from, to := s.start(w)
			must(t, to.conn.SetReadBuffer(4096))
			wrote := from.flood(s.frame)
			eventually(t, "nobody takes what is sent", from.blocked())
			w.served()
			w.passUntilEnded()
			if err := <-wrote; err == nil {
				t.Error("all of it was taken")
			}
			if s.opaque {
				w.use(workload.NotHTTP)
			} else if u := w.use(workload.Injected); !errors.Is(u.Reason, errStalled) {
				t.Errorf("reason %v", u.Reason)
			}
		})
	}
}

// Whoever takes little at a time is not.
func TestSlowReaders(t *testing.T) {
	for name, s := range streams {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, steadyLimits, with(ledger(open)))
			from, to := s.start(w)
			must(t, to.conn.SetReadBuffer(64<<10))
			wrote := from.flood(s.frame)
			eventually(t, "nobody takes what is sent", from.blocked())
			for range 10 {
				w.pass(200 * time.Second)
				must(t, to.conn.SetReadDeadline(time.Now().Add(patience)))
				if _, err := io.CopyN(io.Discard, to.conn, 256<<10); err != nil {
					t.Fatal(err)
				}
				eventually(t, "nobody takes what is sent", from.blocked())
			}
			if n := w.server.Open(); n != 1 {
				t.Fatalf("%d connections are open", n)
			}
			to.reset()
			<-wrote
		})
	}
}

// blocked is true when bytes wait to be sent and none has left since it was last asked.
func (p *peer) blocked() func() bool {
	raw, err := p.conn.SyscallConn()
	must(p.t, err)
	last := uint64(0)
	return func() bool {
		var info *unix.TCPInfo
		must(p.t, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
		must(p.t, err)
		same := info.Notsent_bytes > 0 && info.Bytes_acked == last
		last = info.Bytes_acked
		return same
	}
}

// flood sends without an end, in pieces.
func (p *peer) flood(frame func(string) string) <-chan error {
	wrote := make(chan error, 1)
	piece := []byte(frame(strings.Repeat("x", 64<<10)))
	go func() {
		for {
			if _, err := p.conn.Write(piece); err != nil {
				wrote <- err
				return
			}
		}
	}()
	return wrote
}
