package injector

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// turn is what one side says before it is the other's turn.
type turn struct {
	server  bool   // who speaks
	sends   string // what is written
	arrives string // what the other side then reads
	heads   []int  // where the heads of requests end in what is written
}

// says is a turn that arrives as it was sent.
func says(server bool, bytes string) turn { return turn{server: server, sends: bytes, arrives: bytes} }

// asks is a client's turn that is made of requests, one per head; each gets a
// trace id of its own and a token.
func asks(requests ...string) turn {
	var t turn
	for i, r := range requests {
		line, rest, _ := strings.Cut(r, "\r\n")
		fields, body, _ := strings.Cut(rest, "\r\n\r\n")
		head := fmt.Sprintf("%s\r\n%s\r\nTraceparent: %d\r\n", line, fields, i)
		t.heads = append(t.heads, len(t.sends+head+"\r\n"))
		t.sends += head + "\r\n" + body
		t.arrives += head + bearer + "\r\n" + body
	}
	return t
}

// requests returns how many heads the first n bytes of a turn complete.
func (t turn) requests(n int) (heads int) {
	for _, end := range t.heads {
		if end <= n {
			heads++
		}
	}
	return heads
}

// conversations that either side may end at any byte.
var conversations = map[string][]turn{
	"length": {
		asks("PUT /a HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 5\r\n\r\nhello"),
		says(true, ok),
	},
	"chunked": {
		asks("PUT /a HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"),
		says(true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
	},
	"pipelined": {
		asks("GET /a HTTP/1.1\r\nHost: ledger.internal\r\n\r\n", "GET /b HTTP/1.1\r\nHost: ledger.internal\r\n\r\n"),
		says(true, ok+noLength),
	},
	"opaque": {
		says(false, "\x16hello"), says(true, "welcome"), says(false, "more"), says(true, "less"),
	},
	"upgrade": {
		asks("GET /a HTTP/1.1\r\nHost: ledger.internal\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
		says(true, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nframe"), says(false, "\x81data"), says(true, "bye"),
	},
}

// Either side ends a conversation after every byte of it, in peace or with a
// reset. The other side learns of it, nothing of the connection stays, and every
// request that arrived is recorded once.
func TestEndAtEveryByte(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close what was forgotten
	for name, turns := range conversations {
		for _, end := range []ending{{false, false}, {false, true}, {true, false}, {true, true}} {
			t.Run(name+"/"+end.String(), func(t *testing.T) {
				w := newWorld(t, with(ledger(open))) // where what is no HTTP is relayed
				total := 0
				for _, said := range turns {
					total += len(said.sends)
				}
				w.endAfter(turns, 0, end) // warms up what stays
				goroutines, sockets := runtime.NumGoroutine(), openSockets(t)
				for n := range total + 1 {
					w.endAfter(turns, n, end)
					eventually(t, fmt.Sprintf("no goroutine is left after byte %d", n), func() bool { return runtime.NumGoroutine() <= goroutines })
					eventually(t, fmt.Sprintf("no socket is left after byte %d", n), func() bool { return openSockets(t) <= sockets })
				}
			})
		}
	}
}

// ending says who ends a conversation, and how.
type ending struct{ server, reset bool }

func (e ending) String() string {
	who, how := "client", "FIN"
	if e.server {
		who = "server"
	}
	if e.reset {
		how = "RST"
	}
	return who + " " + how
}

// endAfter holds the first n bytes of a conversation, has one side end it, and
// checks what the other side sees and what is recorded.
func (w *world) endAfter(turns []turn, n int, end ending) {
	w.t.Helper()
	client, upstream := w.pair()
	w.waitFor("the destination has answered", (*conn).hasDialled)
	ends, other := client, upstream
	if end.server {
		ends, other = upstream, client
	}
	requests := w.converse(client, upstream, turns, n)
	if end.reset {
		ends.reset()
	} else {
		ends.close()
	}
	other.expectAnyEnd()
	other.close()
	eventually(w.t, fmt.Sprintf("the connection that ends after byte %d is gone", n), func() bool { return w.server.Open() == 0 })
	if turns[0].heads != nil {
		w.expectRecords(n, requests)
	} else if n > 0 {
		w.use(workload.NotHTTP)
	}
	if left := len(w.uses); left > 0 {
		w.t.Fatalf("%d records too many after byte %d", left, n)
	}
}

// converse holds the first n bytes of a conversation, until the injector has read
// them, and returns how many requests are among them.
func (w *world) converse(client, upstream *peer, turns []turn, n int) (requests int) {
	w.t.Helper()
	for _, said := range turns {
		from, to := client, upstream
		if said.server {
			from, to = upstream, client
		}
		requests += said.requests(n)
		if n < len(said.sends) {
			from.send(said.sends[:n])
			eventually(w.t, "all of it was read", func() bool { return w.unread() == 0 })
			break
		}
		from.send(said.sends)
		to.expect(said.arrives)
		n -= len(said.sends)
	}
	return requests
}

// expectRecords wants one record of each request, and of what began to be
// another at most one; of a connection at least one.
func (w *world) expectRecords(n, requests int) {
	w.t.Helper()
	seen := map[string]int{}
	for len(w.uses) > 0 {
		u := <-w.uses
		if u.Outcome != workload.Injected {
			u.Traceparent = "unfinished"
		}
		seen[u.Traceparent]++
	}
	if n > 0 && len(seen) == 0 {
		w.t.Fatalf("after byte %d nothing is recorded", n)
	}
	want := map[string]int{}
	for i := range requests {
		want[strconv.Itoa(i)] = 1
	}
	if seen["unfinished"] == 1 {
		delete(seen, "unfinished")
	}
	if !maps.Equal(seen, want) {
		w.t.Fatalf("after byte %d the records are %v, want %v", n, seen, want)
	}
}

// expectAnyEnd reads until the connection has ended, in whatever way.
func (p *peer) expectAnyEnd() {
	p.t.Helper()
	must(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.Copy(io.Discard, p.conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("%s: %v, want an end", p.name, err)
	}
}
