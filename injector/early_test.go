package injector

import (
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const upload = "POST /up HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 90\r\n"

// The server answers before the body is there, and goes on: what the client sends
// is still that body, whatever it looks like, and the next request comes after it.
func TestAnswerBeforeTheBody(t *testing.T) {
	body := (get + own + "\r\n" + strings.Repeat("x", 90))[:90]
	for name, answer := range map[string]string{
		"accepted": ok,
		"declined": "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(upload + "Expect: 100-continue\r\n\r\n")
			upstream.expect(upload + "Expect: 100-continue\r\n" + bearer + "\r\n")
			upstream.send(answer)
			client.expect(answer)
			w.use(workload.Injected)
			client.send(body + get + "\r\n")
			upstream.expect(body + get + bearer + "\r\n")
			upstream.send(ok)
			client.expect(ok)
			w.use(workload.Injected)
		})
	}
}

// A body that turns out to be malformed after the answer came: both ends are reset,
// and nothing that follows goes anywhere.
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
	client.expectReset()
	upstream.expectReset()
}

// Responses that have no body whatever they say, with bytes after them: nobody can
// tell what those are, and no request is sent after them.
func TestBytesAfterResponsesWithoutABody(t *testing.T) {
	for name, c := range map[string]struct{ request, response string }{
		"204":             {get, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"},
		"204 and chunked": {get, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"304":             {get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"},
		"HEAD":            {strings.Replace(get, "GET", "HEAD", 1), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
		"empty":           {get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(c.request + "\r\n")
			upstream.expect(c.request + bearer + "\r\n")
			upstream.send(c.response + "hi")
			client.expect(c.response + "hi")
			w.use(workload.Injected)
			client.send(get + "\r\n")
			upstream.expectReset()
			client.expectReset()
		})
	}
}

// A whole response that nobody asked for is not kept as the answer to what comes.
func TestAnswerBeforeTheRequest(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok + noLength)
	client.expect(ok + noLength)
	w.use(workload.Injected)
	client.send(get + "\r\n")
	upstream.expectReset()
	client.expectReset()
}
