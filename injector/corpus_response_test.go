package injector

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// validResponses are what the corpus of mutated responses is made of.
var validResponses = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi\r\n",
	"HTTP/1.1 200 OK\r\nX: y\r\n\tz: \r\nContent-Length: 2\r\nContent-Length: 02\r\n\r\nhi",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000000003 \r\nabc\r\n0 ;;\r\nX\r\n\r\n",
	"HTTP/1.1 200 OK\nTransfer-Encoding:\tchunked\n\n3\nabc\r\n0\n\r\n",
}

// doubtfulResponses are whole, and nobody may take what follows them for another one.
var doubtfulResponses = []string{
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
	"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nhi",
	"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
}

// Every mutation of every such response, before another one: both are answers only
// if all clients see two, and the client receives every byte of whatever it is.
func TestMutatedResponses(t *testing.T) {
	w := newWorld(t)
	var c tally
	for i, response := range append(validResponses, doubtfulResponses...) {
		want := 2
		if i >= len(validResponses) {
			want = 1
		}
		if n := answersIn(response+ok, 2); n != want {
			t.Fatalf("%d answers in %q", n, response+ok)
		}
		for _, m := range mutate(response) {
			answered, err := w.answerTwo(m.bytes[:m.at], m.bytes[m.at:]+ok)
			want := answersIn(m.bytes+ok, 2)
			if err != nil || answered != want {
				c.fail(t, "%v: %d answers, want %d (%v)", m, answered, want, err)
			}
			c.cases++
			if want == 2 {
				c.forwarded++
			} else {
				c.relayed++
			}
		}
	}
	c.print(t, "mutated responses")
}

// answerTwo answers two requests with the pieces, ends the connection, and returns
// how many of the requests the injector takes to be answered.
func (w *world) answerTwo(pieces ...string) (answered int, err error) {
	w.t.Helper()
	client, upstream := w.pair()
	client.send(get + "\r\n" + get + "\r\n")
	upstream.expect(get + bearer + "\r\n" + get + bearer + "\r\n")
	sent := ""
	for _, piece := range pieces {
		upstream.send(piece)
		sent += piece
	}
	must(w.t, upstream.conn.CloseWrite())
	must(w.t, client.conn.SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(client.conn)
	if err == nil && string(got) != sent {
		err = fmt.Errorf("the client received %q", got)
	}
	client.close()
	upstream.close()
	for range 2 {
		if u := w.use(workload.Injected); u.Reason == nil {
			answered++
		}
	}
	return answered, err
}
