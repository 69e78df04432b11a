package injector

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	get      = "GET /invoices?secret=1 HTTP/1.1\r\nHost: ledger.internal\r\n"
	ok       = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	noLength = "HTTP/1.1 204 No Content\r\n\r\n"
)

func TestRequestGetsToken(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: a=b\r\n\r\n")
	upstream.expect(get + "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: a=b\r\n" + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	u := w.use(workload.Injected)
	if u.Identity != "billing" || u.Destination != "ledger" || u.Audience != "https://ledger.internal" || u.TokenID != "id-1" ||
		u.Status != 200 || u.Method != "GET" || u.Host != "ledger.internal" || u.Executable != "/usr/local/bin/billing" ||
		!strings.HasPrefix(u.Traceparent, "00-0af") || u.Tracestate != "a=b" || u.Peer.Original != original || u.Expires.IsZero() || u.Reason != nil {
		t.Errorf("record %+v", u)
	}
}

func TestKeepAlive(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	for range 5 {
		client.send(get + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.Injected)
	}
	client.closeWrite()
	upstream.expectEnd()
	client.expectEnd()
}

func TestPipelining(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	var sent strings.Builder
	for i := range 3 * maxPipelined {
		fmt.Fprintf(&sent, "POST /%d HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 3\r\n\r\nabc", i)
	}
	client.send(sent.String())
	for i := range 3 * maxPipelined {
		upstream.expect(fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 3\r\n%s\r\nabc", i, bearer))
		if i%2 == 1 {
			upstream.send(ok + noLength)
		}
	}
	client.expect(strings.Repeat(ok+noLength, 3*maxPipelined/2))
}

// Every place at which a conversation can be cut into segments gives the same.
func TestEverySplit(t *testing.T) {
	w := newWorld(t)
	request := "POST /a HTTP/1.1\r\nHost: ledger.internal\r\nauthorization: mine\r\nTransfer-Encoding: chunked\r\n\r\n4;x=\"y\"\r\nwiki\r\n0\r\nX-Sum: 1\r\n\r\n"
	arrives := strings.Replace(request, "authorization: mine\r\n", bearer, 1)
	response := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"
	client, upstream := w.pair()
	for i := 1; i < len(request); i++ {
		client.send(request[:i])
		client.send(request[i:])
		upstream.expect(arrives)
		j := min(i, len(response)-1)
		upstream.send(response[:j])
		client.expect(response[:min(j, wholeHeads(response, j))])
		upstream.send(response[j:])
		client.expect(response[min(j, wholeHeads(response, j)):])
		w.use(workload.Injected)
	}
}

// wholeHeads is how much of the first n bytes of a response with an interim one
// can be passed on: heads only when they are complete.
func wholeHeads(response string, n int) int {
	end := 0
	for range 2 {
		i := strings.Index(response[end:], "\r\n\r\n")
		if end+i+4 > n {
			return end
		}
		end += i + 4
	}
	return n
}

func TestByteByByte(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	request := "PUT /a HTTP/1.1\r\nHost: LEDGER.internal.:80\r\nContent-Length: 5\r\n\r\nhello"
	for i := range len(request) {
		client.send(request[i : i+1])
	}
	upstream.expect(strings.Replace(request, "\r\n\r\n", "\r\n"+bearer+"\r\n", 1))
	for i := range len(ok) {
		upstream.send(ok[i : i+1])
	}
	client.expect(ok)
	w.use(workload.Injected)
}

func TestExpectContinue(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send("POST / HTTP/1.1\r\nHost: ledger.internal\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	upstream.expect("POST / HTTP/1.1\r\nHost: ledger.internal\r\nExpect: 100-continue\r\nContent-Length: 4\r\n" + bearer + "\r\n")
	upstream.send("HTTP/1.1 100 Continue\r\n\r\n")
	client.expect("HTTP/1.1 100 Continue\r\n\r\n")
	client.send("body")
	upstream.expect("body")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
}

// The server may answer before the body was sent, and end the connection.
func TestEarlyResponse(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 100000000\r\n\r\nsome")
	upstream.expect("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 100000000\r\n" + bearer + "\r\nsome")
	upstream.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	upstream.close()
	client.expect("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	client.expectEnd()
	if u := w.use(workload.Injected); u.Status != 413 {
		t.Errorf("status %d", u.Status)
	}
}

func TestUnauthorizedIsReported(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
	client.expect("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
	if u := w.use(workload.Injected); u.Status != 401 {
		t.Errorf("status %d", u.Status)
	}
	if n := w.rejected.Load(); n != 1 {
		t.Errorf("reported %d times", n)
	}
}

// Bytes after a request with Upgrade wait until it is known what they are.
func TestUpgrade(t *testing.T) {
	const upgrade = "GET /ws HTTP/1.1\r\nHost: ledger.internal\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	t.Run("accepted", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(upgrade + "\r\n" + "GET / HTTP/1.1\r\n\r\n")
		upstream.expect(upgrade + bearer + "\r\n")
		upstream.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe")
		client.expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe")
		upstream.expect("GET / HTTP/1.1\r\n\r\n")
		client.send("\x00more")
		upstream.expect("\x00more")
		client.closeWrite()
		upstream.expectEnd()
		upstream.send("last")
		upstream.close()
		client.expect("last")
		client.expectEnd()
		if u := w.use(workload.Injected); u.Status != 101 {
			t.Errorf("status %d", u.Status)
		}
	})
	t.Run("declined", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(upgrade + "\r\n" + get + "\r\n")
		upstream.expect(upgrade + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
	})
	t.Run("client gone", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(upgrade + "\r\n")
		upstream.expect(upgrade + bearer + "\r\n")
		client.reset()
		upstream.expectReset()
	})
}

func TestConnect(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	const connect = "CONNECT ledger.internal:80 HTTP/1.1\r\nHost: ledger.internal:80\r\n\r\n"
	client.send(connect)
	upstream.expect(connect)
	upstream.send("HTTP/1.1 200 Connection established\r\n\r\n")
	client.expect("HTTP/1.1 200 Connection established\r\n\r\n")
	client.send(get + "\r\n")
	upstream.expect(get + "\r\n")
	upstream.close()
	client.expectEnd()
	w.use(workload.Untouched)
}

func TestConnectionClose(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "Connection: close\r\n\r\n" + get + "\r\n")
	upstream.expect(get + "Connection: close\r\n" + bearer + "\r\n")
	upstream.send(ok)
	upstream.expectEnd()
	client.expect(ok)
	client.expectEnd()
	w.use(workload.Injected)
}

func TestEmptyLineBetweenRequests(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n\r\n" + get + "\r\n")
	upstream.expect(get + bearer + "\r\n" + get + bearer + "\r\n")
	client.send("\r\n")
	upstream.send(ok + ok)
	client.expect(ok + ok)
	client.send("\r\n")
	client.expectProblem("400", workload.BadRequest)
}

func TestHalfClose(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	client.closeWrite()
	upstream.expect(get + bearer + "\r\n")
	upstream.expectEnd()
	upstream.send(ok)
	client.expect(ok)
	client.expectEnd()
	w.use(workload.Injected)
}

func TestClientResetIsPassedOn(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	client.reset()
	upstream.expectReset()
	if u := w.use(workload.Injected); u.Reason == nil || u.Status != 0 {
		t.Errorf("record %+v", u)
	}
}

func TestUpstreamResetIsPassedOn(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	client.expect("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	upstream.reset()
	client.expectReset()
	if u := w.use(workload.Injected); u.Reason == nil || u.Status != 200 {
		t.Errorf("record %+v", u)
	}
}

func TestUpstreamEndsIdleConnection(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	upstream.close()
	client.expectEnd()
}

func TestLargeBodies(t *testing.T) {
	const size = 8<<20 + 17
	body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
	for name, framed := range map[string]func(string) string{
		"length":  func(b string) string { return fmt.Sprintf("Content-Length: %d\r\n%s\r\n%s", size, "%s", b) },
		"chunked": func(b string) string { return "Transfer-Encoding: chunked\r\n%s\r\n" + chunks(b) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			for range 2 {
				sent := "POST / HTTP/1.1\r\nHost: ledger.internal\r\n" + strings.Replace(framed(body), "%s", "", 1)
				arrives := "POST / HTTP/1.1\r\nHost: ledger.internal\r\n" + strings.Replace(framed(body), "%s", bearer, 1)
				done := make(chan struct{})
				go func() { defer close(done); client.send(sent) }()
				upstream.expect(arrives)
				<-done
				response := "HTTP/1.1 200 OK\r\n" + strings.Replace(framed(body), "%s", "", 1)
				done = make(chan struct{})
				go func() { defer close(done); upstream.send(response) }()
				client.expect(response)
				<-done
				w.use(workload.Injected)
			}
		})
	}
}

func chunks(b string) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 70_000)
		fmt.Fprintf(&s, "%x\r\n%s\r\n", n, b[:n])
		b = b[n:]
	}
	return s.String() + "0\r\n\r\n"
}

// A head may fill the largest buffer, and no more.
func TestLargeHead(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	head := get + "X: "
	head += strings.Repeat("y", maxHead-len(head)-4) + "\r\n"
	client.send(head + "\r\n")
	upstream.expect(head + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	client.send(get + "X: " + strings.Repeat("y", maxHead))
	client.expectProblem("431", workload.BadRequest)
}
