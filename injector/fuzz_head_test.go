package injector

import (
	"bytes"
	"strings"
	"testing"
)

// heads are the seeds of what reads request heads.
var heads = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
	"PUT / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.0\r\nAuthorization: x\r\nA: b\r\nAuthorization: y\r\n\r\n",
	"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
	"GET /%2e?q#f HTTP/1.1\r\nHost: 10.0.0.1:\r\nUpgrade: x\r\nConnection: keep-alive, upgrade\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-1-2-01\r\nTracestate: c=d\r\nPragma: no-cache\r\n\r\n",
	"GET http://A.Example.:080/x HTTP/1.1\r\nHost: a.eXample\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: A.Example:80\r\n\r\n",
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: a, close\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length, X\r\n\r\n",
	"GET a_b://c/%zz HTTP/1.1\r\nHost: c\r\nTrailer:\r\n\r\n",
	// What a parser that is less strict would read otherwise than net/http.
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
	"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\nX: y\n\n",
	"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\n",
}

// FuzzHead holds what must be true of every head that is accepted, and that a
// verdict does not depend on the pieces in which the bytes arrive.
func FuzzHead(f *testing.F) {
	for i, s := range heads {
		f.Add([]byte(s), uint16(7*i))
	}
	f.Fuzz(func(t *testing.T, spelt []byte, cut uint16) {
		b := spell(spelt)
		h, done, err := parseHead(b)
		checkPieces(t, b, int(cut), h, done, err)
		if !done {
			return
		}
		checkPlaces(t, b, h)
		checkFacts(t, b, h)
		checkRewritten(t, b, h)
		for i := range h.size() {
			if sniff(b[:i]) == notHTTP1 {
				t.Fatalf("accepted, but %q is not recognised as HTTP", b[:i])
			}
		}
	})
}

// checkPieces feeds the same bytes in two pieces, and one by one.
func checkPieces(t *testing.T, b []byte, cut int, whole *head, done bool, err error) {
	t.Helper()
	feeds := map[string]func(feed func(n int) bool){
		"in two": func(feed func(int) bool) { _ = feed(min(cut, len(b))) || feed(len(b)) },
		"byte by byte": func(feed func(int) bool) {
			for n := 0; n <= len(b) && !feed(n); n++ {
			}
		},
	}
	for how, pieces := range feeds {
		h, d, e := new(head), false, error(nil)
		h.reset()
		pieces(func(n int) bool { d, e = h.parse(b[:n]); return d || e != nil })
		if d != done || e != err || *h != *whole {
			t.Fatalf("%s %+v, %t, %v; at once %+v, %t, %v", how, h, d, e, whole, done, err)
		}
	}
}

// checkPlaces holds that every offset lies where it must.
func checkPlaces(t *testing.T, b []byte, h *head) {
	t.Helper()
	b = b[:h.size()] // so that nothing beyond the head can be reached
	if !bytes.HasSuffix(b, []byte("\r\n\r\n")) || len(b) > maxHead || bytes.Count(b, []byte("\n")) != bytes.Count(b, []byte("\r\n")) {
		t.Fatalf("a head does not end in an empty line, or has a bare LF: %q", b)
	}
	line := bytes.IndexByte(b, '\n')
	if string(b[:line+1]) != string(h.method.of(b))+" "+string(h.target.of(b))+" HTTP/1."+string('0'+rune(h.minor))+"\r\n" {
		t.Fatalf("method %q, target %q, minor %d", h.method.of(b), h.target.of(b), h.minor)
	}
	if !h.path.empty() && (h.path.from < h.target.from || h.path.to > h.target.to) {
		t.Fatalf("path %+v is outside of the target %+v", h.path, h.target)
	}
	end := uint32(line + 1)
	for _, s := range h.authorization[:h.credentials] {
		if s.from < end || !isName(b[s.from:s.from+13], "authorization") || b[s.from+13] != ':' || b[s.from-1] != '\n' || b[s.to-1] != '\n' {
			t.Fatalf("credentials %q at %+v", s.of(b), s)
		}
		end = s.to
	}
	for _, s := range []span{h.host, h.traceparent, h.tracestate} {
		if !s.empty() && s.from <= uint32(line) || bytes.ContainsAny(s.of(b), "\r\n\x00") {
			t.Fatalf("value %q at %+v", s.of(b), s)
		}
	}
}

// checkFacts holds what the rest of the package relies on.
func checkFacts(t *testing.T, b []byte, h *head) {
	t.Helper()
	switch at := h.authority; {
	case h.chunked && (h.length >= 0 || h.minor == 0), h.coded != h.chunked, h.length < -1:
		t.Fatalf("framing %+v", h.framing)
	case h.minor == 1 && h.hosts != 1:
		t.Fatalf("%d hosts", h.hosts)
	case (at.host == "") != (at.port == 0), at.host != strings.ToLower(at.host), strings.ContainsAny(at.host, " @/?#[]\\\x00"):
		t.Fatalf("authority %+v", at)
	case h.form == authorityForm != h.is(b, "CONNECT"), h.form == absoluteForm && at.host == "":
		t.Fatalf("form %d", h.form)
	case strings.Count(at.host, ":") > 0 && strings.Count(at.host, ":") < 2:
		t.Fatalf("authority %+v holds a port", at)
	}
}

// checkRewritten holds that a head with the token in it is the same request, and
// that all else is the client's own.
func checkRewritten(t *testing.T, b []byte, h *head) {
	t.Helper()
	rewritten := appendInjected(nil, b, h, someToken(t))
	var without []byte
	from := uint32(0)
	for _, line := range h.authorization[:h.credentials] {
		without = append(without, b[from:line.from]...)
		from = line.to
	}
	without = append(without, b[from:h.size()]...)
	if i := bytes.Index(rewritten, []byte("\n"+bearer)) + 1; i == 0 || string(without) != string(rewritten[:i])+string(rewritten[i+len(bearer):]) {
		t.Fatalf("rewritten to %q, without credentials it is %q", rewritten, without)
	}
	if len(rewritten) > maxHead || h.fields == maxFields {
		return // the server's limits are its own
	}
	again, done, err := parseHead(rewritten)
	if !done || err != nil || again.credentials != 1 || again.authority != h.authority || again.framing != h.framing ||
		again.last() != h.last() || again.upgrade != h.upgrade || again.size() != len(rewritten) {
		t.Fatalf("rewritten to %q: %+v, %t, %v", rewritten, again, done, err)
	}
}
