package injector

import (
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestResponseFraming(t *testing.T) {
	for name, response := range map[string]string{
		"no content":       noLength,
		"not modified":     "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
		"empty":            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"interim":          "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok,
		"chunked":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n",
		"coded":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"no reason phrase": "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			for range 2 {
				client.send(get + "\r\n")
				upstream.expect(get + bearer + "\r\n")
				upstream.send(response)
				client.expect(response)
				w.use(workload.Injected)
			}
		})
	}
}

func TestHeadResponseHasNoBody(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	for range 2 {
		client.send("HEAD / HTTP/1.1\r\nHost: ledger.internal\r\n\r\n")
		upstream.expect("HEAD / HTTP/1.1\r\nHost: ledger.internal\r\n" + bearer + "\r\n")
		upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		client.expect("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		w.use(workload.Injected)
	}
}

func TestCloseDelimitedResponse(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send("GET / HTTP/1.0\r\nHost: ledger.internal\r\n\r\n")
	upstream.expect("GET / HTTP/1.0\r\nHost: ledger.internal\r\n" + bearer + "\r\n")
	upstream.send("HTTP/1.0 200 OK\r\n\r\n")
	upstream.send(strings.Repeat("x", 1<<20))
	upstream.close()
	client.expect("HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20))
	client.expectEnd()
	w.use(workload.Injected)
}

// A truncated response ends for the client where it ended for us.
func TestTruncatedResponse(t *testing.T) {
	for _, response := range []string{"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"} {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(get + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(response)
		upstream.close()
		client.expect(response)
		client.expectEnd()
		if u := w.use(workload.Injected); u.Reason == nil {
			t.Errorf("%q: no reason", response)
		}
	}
}

// What cannot be framed is relayed, and no request follows it.
func TestMalformedResponse(t *testing.T) {
	for _, response := range []string{
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"HTTP/2 200 OK\r\n\r\n",
		"nonsense\r\n",
	} {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(get + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(response)
		client.expect(response)
		client.send(get + "\r\n")
		upstream.expectReset()
		client.expectReset()
		if u := w.use(workload.Injected); u.Reason == nil {
			t.Errorf("%q: no reason", response)
		}
		if !strings.Contains(w.logged(), "cannot be framed") {
			t.Errorf("%q: not logged", response)
		}
	}
}

func TestUnsolicitedResponse(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok + "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
	upstream.close()
	client.expect(ok + "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
	client.expectEnd()
}

// The answer to an upload that the server cuts short reaches the client, while
// it is still sending: the write that fails is not the end of the conversation.
func TestEarlyResponseToAnUploadInFlight(t *testing.T) {
	const answer = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	for _, framing := range []string{"Content-Length: 1073741824", "Transfer-Encoding: chunked"} {
		w := newWorld(t)
		client, upstream := w.pair()
		head := "POST / HTTP/1.1\r\nHost: ledger.internal\r\n" + framing + "\r\n"
		client.send(head + "\r\n")
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			chunk := []byte("10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n")
			for {
				if _, err := client.conn.Write(chunk); err != nil {
					return
				}
			}
		}()
		upstream.expect(head + bearer + "\r\n" + "10000\r\n" + strings.Repeat("x", 1<<16))
		upstream.send(answer)
		upstream.close()
		client.expect(answer)
		<-stopped
		if u := w.use(workload.Injected); u.Status != 413 || u.Reason != nil {
			t.Errorf("%s: record %+v", framing, u)
		}
	}
}
