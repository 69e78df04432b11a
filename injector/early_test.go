package injector

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	upload        = "POST /up HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 90\r\n"
	chunkedUpload = "POST /up HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n"
)

// A client that waits to be asked for the body gets the final answer instead, and with
// it the end: what it would send next could be the body or a request.
func TestAnswerInsteadOfContinue(t *testing.T) {
	for name, answer := range map[string]string{
		"accepted": ok,
		"declined": "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
		"interim":  "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	} {
		for _, framing := range []string{"Content-Length: 90\r\n", "Transfer-Encoding: chunked\r\n"} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				client, upstream := w.pair()
				head := "POST /up HTTP/1.1\r\nHost: ledger.internal\r\n" + framing + "expect:\t100-Continue \r\n"
				client.send(head + "\r\n")
				upstream.expect(head + bearer + "\r\n")
				upstream.send(answer)
				client.expect(answer)
				client.expectEnd()
				if u := w.use(workload.Injected); u.Reason != nil || u.Status == 0 {
					t.Errorf("record %+v", u)
				}
				client.send(get + "\r\n")
				upstream.expectEnd()
			})
		}
	}
}

// A server that answers before it has the body of a request gets the rest of it, since
// its client goes on sending it; but whatever comes after that is no request any more:
// the server may have taken any of it for one.
func TestAnswerBeforeTheBody(t *testing.T) {
	const more = "POST /more HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 3\r\n\r\nabc"
	body := (get + own + "\r\n" + strings.Repeat("x", 90))[:90]
	for name, c := range map[string]struct{ head, before, after string }{
		"nothing of it":       {upload, "", body},
		"a part of it":        {upload, body[:10], body[10:]},
		"all but a byte":      {upload, body[:89], body[89:]},
		"asked for":           {upload + "Expect: 100-continue\r\n", "", body},
		"sent all the same":   {upload + "Expect: 100-continue\r\n", body[:1], body[1:]},
		"chunks, one of two":  {chunkedUpload, "1\r\na\r\n", "2\r\nbc\r\n0\r\n\r\n"},
		"chunks, but the end": {chunkedUpload, "1\r\na\r\n", "0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(c.head + "\r\n" + c.before)
			upstream.expect(c.head + bearer + "\r\n" + c.before)
			if name == "asked for" {
				upstream.send("HTTP/1.1 100 Continue\r\n\r\n")
				client.expect("HTTP/1.1 100 Continue\r\n\r\n")
			}
			upstream.send(ok)
			client.expect(ok)
			w.use(workload.Injected)
			client.send(c.after + more + get + "\r\n")
			upstream.expect(c.after)
			upstream.expectEnd()
			client.expectEnd()
			for _, method := range []string{"POST", "GET"} {
				if u := w.use(workload.NotSent); u.Method != method || u.Destination != "ledger" {
					t.Errorf("record %+v", u)
				}
			}
		})
	}
}

// The body is sent before the answer has ended: then the answer's end is that of the
// connection.
func TestBodyDuringAnEarlyAnswer(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(upload + "\r\n")
	upstream.expect(upload + bearer + "\r\n")
	upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
	client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
	body := strings.Repeat("x", 90)
	client.send(body)
	upstream.expect(body)
	upstream.send("i")
	client.expect("i")
	client.expectEnd()
	w.use(workload.Injected)
	upstream.expectEnd()
}

// A server that answers an upload as soon as it has its last byte did not answer early.
func TestAnswerToTheLastByte(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	const size = 1 << 20
	for i := range 200 {
		head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: %d\r\n", size)
		sent := make(chan struct{})
		go func() { defer close(sent); client.send(head + "\r\n" + strings.Repeat("x", size)) }()
		upstream.expect(head + bearer + "\r\n" + strings.Repeat("x", size))
		upstream.send(ok)
		client.expect(ok)
		<-sent
		w.use(workload.Injected)
		w.server.eachConn(func(c *conn) {
			if c.mode.Load() != modeHTTP {
				t.Errorf("upload %d counts as answered early", i)
			}
		})
	}
}

// A body that turns out to be malformed after the answer came: the server is reset, the
// client keeps its answer, and nothing that follows goes anywhere.
func TestMalformedBodyAfterTheAnswer(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n"
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(head + "\r\n2\r\nab\r\n")
	upstream.expect(head + bearer + "\r\n2\r\nab\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	client.send("zz\r\n" + get + "\r\n")
	client.expectEnd()
	upstream.expectReset()
}
