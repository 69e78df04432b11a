package injector

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// responseExceptions are the responses about which we and the corpus differ, each
// with the part of the RFC that permits it.
var responseExceptions = map[string]string{
	"llhttp/response/invalid.md:290":           "a recipient may take LF for the end of a line (RFC 9112 §2.2), and clients that do not end the connection",
	"llhttp/response/invalid.md:330":           "as invalid.md:290 (RFC 9112 §2.2)",
	"llhttp/response/sample.md:333":            "as invalid.md:290 (RFC 9112 §2.2)",
	"llhttp/response/transfer-encoding.md:7":   "white space around a chunk's size is bad and to be parsed (RFC 9112 §7.1.1); every client that takes it finds the same end",
	"llhttp/response/transfer-encoding.md:251": "a recipient ignores extensions that it does not know (RFC 9112 §7.1.1), and clients ignore all",
	"llhttp/response/transfer-encoding.md:348": "as transfer-encoding.md:251 (RFC 9112 §7.1.1)",
	"llhttp/response/connection.md:80":         "what follows is an answer that nobody asked for (RFC 9112 §9.3.2): nothing is sent after it",
	"llhttp/response/connection.md:139":        "as connection.md:80 (RFC 9112 §9.3.2)",
	"llhttp/response/connection.md:296":        "after 101 there is no HTTP, and no further request (RFC 9110 §15.2.2)",
	"llhttp/response/connection.md:334":        "as connection.md:296 (RFC 9110 §15.2.2)",
	"llhttp/response/connection.md:540":        "as connection.md:80 (RFC 9112 §9.3.2)",
	"llhttp/response/connection.md:589":        "the interim response is none (RFC 9110 §15.2)",
	"llhttp/response/connection.md:644":        "the interim response is none (RFC 9110 §15.2), and the other one lacks a byte (RFC 9112 §8)",
	"llhttp/response/content-length.md:126":    "the second response is within the 123 bytes of the first one (RFC 9112 §6.3); the corpus resets its parser between them",
	"llhttp/response/pipelining.md:7":          "what follows the second response is an answer that nobody asked for (RFC 9112 §9.3.2)",
}

// unfinishedHeads are the responses that end within a head, which is passed on
// only when it is complete or its connection ends.
var unfinishedHeads = map[string]bool{
	"llhttp/response/invalid.md:215": true,
}

const next = "GET /next HTTP/1.1\r\nHost: ledger.internal\r\n"

// Whatever a response is, the client receives its bytes; and if the corpus refuses
// it, no further request is taken to be answered by what follows.
func TestResponseVectors(t *testing.T) {
	var c tally
	differing := map[string]bool{}
	w := newWorld(t)
	for _, v := range readVectors(t, "response") {
		alone, followed := w.playResponse(v, false), w.playResponse(v, true)
		c.cases++
		if alone == v.Complete && v.Verdict == "accept" {
			c.forwarded++
		} else {
			c.relayed++
		}
		if !misframed(v, alone, followed) {
			continue
		}
		differing[v.ID] = true
		if responseExceptions[v.ID] == "" {
			t.Errorf("%s is to be %sed with %d responses: %d, and %d with another request, for\n%q", v.ID, v.Verdict, v.Complete, alone, followed, v.Payload)
		}
	}
	for id := range responseExceptions {
		if !differing[id] {
			t.Errorf("exception %s is none", id)
		}
	}
	c.exceptions = len(responseExceptions)
	c.print(t, "llhttp responses")
}

// misframed reports whether we understood a response otherwise than the corpus:
// saw more of them in what it refuses, or others in what it accepts, or did not go
// on after those.
func misframed(v vector, alone, followed int) bool {
	if v.Verdict == "reject" {
		return alone > v.Complete || followed > v.Complete
	}
	return v.Complete > 0 && (alone != v.Complete || followed != v.Complete+1)
}

// playResponse answers as many requests as the corpus sees responses with the
// payload, and returns how many of them the injector takes to be answered. With
// another request afterwards, whose answer is well-formed, that one counts too.
func (w *world) playResponse(v vector, another bool) (answered int) {
	w.t.Helper()
	client, upstream := w.pair()
	request, after := get, next+bearer+"\r\n"
	switched := strings.HasPrefix(string(v.Payload), "HTTP/1.1 101")
	if switched {
		request += "Connection: upgrade\r\nUpgrade: websocket\r\n"
		after = next + "\r\n" // is no request any more
	}
	n := max(1, v.Complete)
	for range n {
		client.send(request + "\r\n")
		upstream.expect(request + bearer + "\r\n")
	}
	upstream.send(string(v.Payload))
	want := string(v.Payload)
	if another {
		if !unfinishedHeads[v.ID] {
			client.expect(want)
			want = ""
		}
		client.send(next + "\r\n")
		if upstream.reads(after) {
			if v.Verdict == "reject" && !unfinishedHeads[v.ID] && responseExceptions[v.ID] == "" {
				w.t.Errorf("%s: another request was sent", v.ID)
			}
			upstream.send(ok)
			want += ok
		}
		if !switched {
			n++
		}
	}
	_ = client.conn.CloseWrite() // either may have been reset
	_ = upstream.conn.CloseWrite()
	must(w.t, client.conn.SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(client.conn)
	if string(got) != want && !(another && err != nil && strings.HasPrefix(want, string(got))) {
		w.t.Errorf("%s: the client received %q and %v, want %q", v.ID, got, err, want)
	}
	client.close()
	upstream.close()
	eventually(w.t, "the connection is over", func() bool { return w.server.Open() == 0 })
	for range n {
		if u := <-w.uses; u.Outcome == workload.Injected && u.Reason == nil {
			answered++
		} else if u.Outcome != workload.Injected && u.Outcome != workload.NotSent {
			w.t.Errorf("%s: %s (%v)", v.ID, u.Outcome, u.Reason)
		}
	}
	if left := len(w.uses); left > 0 {
		w.t.Errorf("%s: %d records too many", v.ID, left)
	}
	return answered
}

// reads reports whether exactly this is what comes next, and not the end.
func (p *peer) reads(want string) bool {
	p.t.Helper()
	got := make([]byte, len(want))
	must(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := io.ReadFull(p.conn, got)
	if n > 0 && string(got) != want {
		p.t.Fatalf("%s received %q, want %q or the end (%v)", p.name, got[:n], want, err)
	}
	return n > 0
}
