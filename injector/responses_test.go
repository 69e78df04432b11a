package injector

import (
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestResponseFraming(t *testing.T) {
	for name, response := range map[string]string{
		"no content":               noLength,
		"no content with a length": "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"not modified":             "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
		"empty":                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"interim":                  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok,
		"chunked":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n",
		"padded chunks":            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\tchunked\r\n\r\n0000000000000000000003 \t\r\nabc\r\n0 ; a = b\r\n\r\n",
		"chunks in lines of LF":    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\r\n0\n\r\n",
		"no reason phrase":         "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		"lines of LF":              "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
		"two equal lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		"folded":                   "HTTP/1.1 200 OK\r\nX: y\r\n\tz\r\nContent-Length: 2\r\n\r\nhi",
		"empty lines":              ok + "\r\n\n",
		"empty line before":        "\r\n" + ok,
		"HTTP/1.0":                 "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
		"many fields":              "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 3000) + "Content-Length: 2\r\n\r\nhi",
		"large head":               "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 500) + "Content-Length: 2\r\n\r\nhi",
		"large field":              "HTTP/1.1 200 OK\r\nX:" + strings.Repeat(" y", 200_000) + "\r\nContent-Length: 2\r\n\r\nhi",
		"large interim head":       "HTTP/1.1 103 Early Hints\r\nX:" + strings.Repeat(" y", 50_000) + "\r\n z\r\n\r\n" + ok,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			for range 3 {
				client.send(get + "\r\n")
				upstream.expect(get + bearer + "\r\n")
				sent := make(chan struct{})
				go func() { defer close(sent); upstream.send(response) }()
				client.expect(response)
				<-sent
				if u := w.use(workload.Injected); u.Reason != nil {
					t.Errorf("record %+v", u)
				}
			}
		})
	}
}

// doubtfulAnswers are whole responses about whose end clients differ.
var doubtfulAnswers = map[string]string{
	"list of equal lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
	"space before a colon":        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
	"space before another colon":  "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nhi",
	"length and chunked":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	"tab after a coding":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	"chunked in HTTP/1.0":         "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	"coded":                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"coded in two lines":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"not modified, chunked":       "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
	"trailers that end in LF":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\n",
	"a trailer that ends in LF":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\n\r\n",
	"body of no content":          noLength + "hi",
	"body of not modified":        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi",
	"more than its length":        ok + "hi",
	"more than nothing":           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nhi",
	"an answer that nobody asked": ok + noLength,
}

// Where clients differ about the end of a response, all of them get every byte and
// then the end, so that none takes what follows for another one, and each may send
// its next request on another connection.
func TestDoubtfulResponse(t *testing.T) {
	for name, response := range doubtfulAnswers {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(get + "\r\n")
			upstream.expect(get + bearer + "\r\n")
			upstream.send(response)
			client.expect(response)
			client.expectEnd()
			if u := w.use(workload.Injected); u.Reason != nil || u.Status == 0 {
				t.Errorf("record %+v", u)
			}
			client.send(get + "\r\n") // it had not noticed yet
			client.closeWrite()
			if u := w.use(workload.NotSent); u.Destination != "ledger" || u.Identity != "billing" || u.TokenID != "" || u.Reason == nil {
				t.Errorf("record %+v", u)
			}
			upstream.expectEnd()
		})
	}
}

// Requests that were sent before it have their answers relayed, and none follows.
func TestDoubtfulResponseBeforeOthers(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n" + get + "\r\n")
	upstream.expect(get + bearer + "\r\n" + get + bearer + "\r\n")
	upstream.send(doubtfulAnswers["coded"])
	client.expect(doubtfulAnswers["coded"])
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	client.send(get + "\r\n")
	w.use(workload.NotSent)
	client.expectEnd()
	upstream.expectEnd()
	if u := w.use(workload.Injected); u.Reason == nil {
		t.Errorf("record %+v", u)
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

// endlessResponses are those whose end cannot be told, or is that of their connection.
var endlessResponses = map[string]string{
	"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
	"negative length":       "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
	"length in hexadecimal": "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi",
	"folded length":         "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nhi",
	"lone CR":               "HTTP/1.1 200 OK\r\nX: y\rContent-Length: 2\r\n\r\nhi",
	"signed chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
	"chunk that ends in LF": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n",
	"LF in an extension":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nhi\r\n0\r\n\r\n",
	"HTTP/2":                "HTTP/2 200 OK\r\n\r\n",
	"nonsense":              "nonsense\r\n",
	"large framing field":   "HTTP/1.1 200 OK\r\nContent-Length: " + strings.Repeat(" ", 70_000) + "2\r\n\r\nhi",
	"too large":             "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxResponseHead) + "\r\nContent-Length: 2\r\n\r\nhi",
	"not asked for":         "HTTP/1.1 101 Switching Protocols\r\n\r\nhi",
	"without a length":      "HTTP/1.1 200 OK\r\n\r\nhi",
	"not chunked":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
}

// What cannot be framed is relayed as long as it comes. No request follows it: one
// that a client sends is counted, and finds the connection ended in peace, so that
// the client sends it again elsewhere and nothing of the response is lost.
func TestEndlessResponse(t *testing.T) {
	for name, response := range endlessResponses {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(get + "\r\n")
			upstream.expect(get + bearer + "\r\n")
			sent := make(chan struct{})
			go func() { defer close(sent); upstream.send(response) }()
			w.waitFor("it was relayed", func(c *conn) bool { return c.mode.Load() == modeBroken })
			client.send("POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 3\r\n\r\nabc")
			client.expect(response)
			client.expectEnd()
			<-sent
			if u := w.use(workload.NotSent); u.Destination != "ledger" || u.Method != "POST" || u.Reason != errEnds {
				t.Errorf("record %+v", u)
			}
			if u := w.use(workload.Injected); u.Reason == nil {
				t.Errorf("record %+v", u)
			}
			upstream.expectEnd()
			if logged := strings.Contains(w.logged(), "cannot be framed"); logged != (name != "without a length" && name != "not chunked") {
				t.Errorf("logged: %t", logged)
			}
		})
	}
}

// A response that is relayed to its end, and goes on coming, is not cut off by the next
// request of a client that does not wait for it.
func TestEndlessResponseGoesOn(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(endlessResponses["without a length"])
	client.expect(endlessResponses["without a length"])
	client.send(get + "\r\n")
	for begun := time.Now(); time.Since(begun) < 4*quietTime; {
		upstream.send("more")
		client.expect("more")
	}
	upstream.close()
	client.expectEnd()
	if u := w.use(workload.Injected); u.Reason != nil {
		t.Errorf("record %+v", u)
	}
	w.use(workload.NotSent)
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
