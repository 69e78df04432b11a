package injector

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// parseHead parses a whole head.
func parseHead(b []byte) (*head, bool, error) {
	h := new(head)
	h.reset()
	done, err := h.parse(b)
	return h, done, err
}

func TestHeadAccepts(t *testing.T) {
	for _, c := range []struct {
		head      string
		authority authority
		path      string
		length    int64
		chunked   bool
		last      bool
		upgrade   bool
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", authority{"a", 80}, "/", -1, false, false, false},
		{"GET /p?q#f HTTP/1.1\r\nhOsT:\t A.Example.ORG.:0080 \t\r\n\r\n", authority{"a.example.org", 80}, "/p", -1, false, false, false},
		{"GET / HTTP/1.1\r\nHost: [2001:DB8:0::1]:8080\r\n\r\n", authority{"2001:db8::1", 8080}, "/", -1, false, false, false},
		{"GET / HTTP/1.1\r\nHost: 10.0.0.1:\r\n\r\n", authority{"10.0.0.1", 80}, "/", -1, false, false, false},
		{"GET http://a:81?q HTTP/1.1\r\nHost: A:81\r\n\r\n", authority{"a", 81}, "", -1, false, false, false},
		{"GET http://a/b HTTP/1.0\r\n\r\n", authority{"a", 80}, "/b", -1, false, true, false},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", authority{"a", 80}, "", -1, false, false, false},
		{"CONNECT a:443 HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n", authority{"b", 80}, "", 0, false, false, false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", authority{}, "/", -1, false, false, false},
		{"GET / HTTP/1.1\r\nHost:\r\nConnection: foo, CLOSE\r\n\r\n", authority{}, "/", -1, false, true, false},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", authority{"a", 80}, "/", 7, false, false, false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", authority{"a", 80}, "/", -1, true, false, false},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n", authority{"a", 80}, "/", -1, false, false, true},
		{"M-SEARCH /\xc3\xa9|{} HTTP/1.1\r\nHost: a\r\nX: \xff\x80\t \r\nY:\r\n\r\n", authority{"a", 80}, "/\xc3\xa9|{}", -1, false, false, false},
	} {
		h, done, err := parseHead([]byte(c.head))
		if !done || err != nil {
			t.Errorf("%q: %t, %v", c.head, done, err)
			continue
		}
		if h.authority != c.authority || string(h.path.of([]byte(c.head))) != c.path || h.length != c.length ||
			h.chunked != c.chunked || h.last() != c.last || h.upgrade != c.upgrade || h.size() != len(c.head) {
			t.Errorf("%q: %+v", c.head, h)
		}
	}
}

func TestHeadRefuses(t *testing.T) {
	const h = "Host: a\r\n"
	for _, c := range []struct {
		head string
		err  error
	}{
		{"GET / HTTP/1.1\nHost: a\r\n\r\n", errBareLF},
		{"GET / HTTP/1.1\r\nHost: a\n\r\n", errBareLF},
		{"GET / HTTP/1.1\r\nHost: a\r\n\n", errBareLF},
		{"\r\nGET / HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET  / HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET / HTTP/1.1 \r\n" + h + "\r\n", errRequestLine},
		{"GET /  HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET\t/ HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"G{T / HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET /\x00 HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET /\x7f HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET /\r HTTP/1.1\r\n" + h + "\r\n", errRequestLine},
		{"GET /\r\n", errRequestLine},
		{"GET / http/1.1\r\n", errRequestLine},
		{"GET / HTTP/1.10\r\n", errRequestLine},
		{"GET / HTTP/11\r\n", errRequestLine},
		{"GET / HTTP/1.2\r\n", errVersion},
		{"GET / HTTP/2.0\r\n", errVersion},
		{"GET / HTTP/0.9\r\n", errVersion},
		{"GET / HTTP/1.1\r\n\r\n", errNoHost},
		{"GET / HTTP/1.1\r\n" + h + h + "\r\n", errTwoHosts},
		{"GET / HTTP/1.1\r\n" + h + "HOST: a\r\n\r\n", errTwoHosts},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: .\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: [fe80::1%eth0]\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", errHost},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", maxHost+1) + "\r\n\r\n", errHost},
		{"GET http://b/ HTTP/1.1\r\n" + h + "\r\n", errHostDiffers},
		{"GET http://a:81/ HTTP/1.1\r\n" + h + "\r\n", errHostDiffers},
		{"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", errHostDiffers},
		{"GET http:///x HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"GET http://u@a/ HTTP/1.1\r\n" + h + "\r\n", errHost},
		{"GET a HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"GET a:80 HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"GET * HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"GET ://a/ HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"CONNECT / HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"CONNECT a HTTP/1.1\r\n" + h + "\r\n", errTarget},
		{"CONNECT a:80 HTTP/1.1\r\n" + h + "Content-Length: 1\r\n\r\n", errConnectBody},
		{"CONNECT a:80 HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n", errConnectBody},
		{"GET / HTTP/1.1\r\n" + h + " folded\r\n\r\n", errFold},
		{"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", errFold},
		{"GET / HTTP/1.1\r\n" + h + "X : y\r\n\r\n", errFieldName},
		{"GET / HTTP/1.1\r\n" + h + "X\r\n\r\n", errFieldName},
		{"GET / HTTP/1.1\r\n" + h + ": y\r\n\r\n", errFieldName},
		{"GET / HTTP/1.1\r\n" + h + "X\x00: y\r\n\r\n", errFieldName},
		{"GET / HTTP/1.1\r\n" + h + "X(: y\r\n\r\n", errFieldName},
		{"GET / HTTP/1.1\r\n" + h + "X: a\rb\r\n\r\n", errFieldValue},
		{"GET / HTTP/1.1\r\n" + h + "X: a\r\r\n\r\n", errFieldValue},
		{"GET / HTTP/1.1\r\n" + h + "X: \x00\r\n\r\n", errFieldValue},
		{"GET / HTTP/1.1\r\n" + h + "X: \x7f\r\n\r\n", errFieldValue},
		{"GET / HTTP/1.1\r\n" + h + "X: \x0b\r\n\r\n", errFieldValue},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", errTwoLengths},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: 1, 1\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: +1\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: -1\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: 0x1\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length:\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: 9999999999999999999\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", errLengthAndCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", errLengthAndCoding},
		{"POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n", errCodingVersion},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: identity\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, identity\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, chunked\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingUnknown},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked,\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: ,chunked\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: xchunked\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding:\r\n\r\n", errCoding},
		{"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n", errCodingUnknown},
		{"GET / HTTP/1.1\r\n" + h + "Connection: close, Authorization\r\n\r\n", errNomination},
		{"GET / HTTP/1.1\r\n" + h + "Connection: content-length\r\n\r\n", errNomination},
		{"GET / HTTP/1.1\r\n" + h + "Connection: host\r\n\r\n", errNomination},
		{"GET / HTTP/1.1\r\n" + h + "Connection: transfer-encoding\r\n\r\n", errNomination},
		{"GET / HTTP/1.1\r\n" + h + strings.Repeat("Authorization: x\r\n", maxAuthorization+1) + "\r\n", errCredentials},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxFields+1), errFieldCount},
		{"GET / HTTP/1.1\r\n" + h + "X: " + strings.Repeat("y", maxHead), errHeadSize},
	} {
		_, done, err := parseHead([]byte(c.head))
		if done || !errors.Is(err, c.err) {
			t.Errorf("%.80q: %t, %v; want %v", c.head, done, err, c.err)
		}
	}
}

func TestSniff(t *testing.T) {
	for _, c := range []struct {
		bytes string
		want  protocol
	}{
		{"", undecided}, {"G", undecided}, {"GET", undecided}, {"GET ", undecided}, {"GET /", undecided},
		{"GET / ", undecided}, {"GET / HTTP/1", undecided}, {"GET / HTTP/1.", undecided}, {"GET / HTTP/1.1", http1},
		{"GET / HTTP/1.9", http1}, {"GET / HTTP/1.1\n", http1}, {"\x16", notHTTP1}, {"\r", notHTTP1}, {" ", notHTTP1},
		{"GET\r", notHTTP1}, {"GET  ", notHTTP1}, {"GET /\r", notHTTP1}, {"GET / R", notHTTP1}, {"GET / HTTP/2", notHTTP1},
		{"GET / HTTP/1.x", notHTTP1}, {"a:b", notHTTP1},
		{strings.Repeat("x", maxHead-1), undecided}, {strings.Repeat("x", maxHead), notHTTP1},
		{"GET /" + strings.Repeat("x", maxHead), http1},
	} {
		if got := sniff([]byte(c.bytes)); got != c.want {
			t.Errorf("%.20q: %d, want %d", c.bytes, got, c.want)
		}
	}
}

func TestPathAllowed(t *testing.T) {
	rule := []string{"/api/", "/exact"}
	for path, want := range map[string]bool{
		"/api/": true, "/api/x": true, "/api/x/y.z": true, "/exact": true, "/api/%20": false, "/api/..x": true,
		"/api": false, "/exact/": false, "/exactly": false, "/": false, "": false, "*": false,
		"/api/../x": false, "/api/..": false, "/api/.": false, "/api/./x": false, "/api//x": false, "//api/x": false,
		"/api/%2e%2E/x": false, "/api/%2f": false, "/api/%5C": false, `/api/\x`: false, "/api/%": false,
		"/api/a;b/c": false, "/api/..;/x": false, "/api/..;a=b/x": false, "/api/x/.;/y": false, "/api/;/x": false, "/api/;": false, "/api/x..;/y": false,
		"/api/%252e%252e/x": false, "/api/%2525": false, "/api/%u002e/x": false, "/api/%2": false, "/api/%zz": false, "/api/%C3%a9": true,
	} {
		target := path
		if path == "" {
			target = "http://a"
		}
		b := []byte("GET " + target + "?../;x#//y HTTP/1.1\r\nHost: a\r\n\r\n")
		h, done, err := parseHead(b)
		if path == "*" {
			continue
		}
		if !done || err != nil {
			t.Fatal(path, err)
		}
		if got := outsideRule(ledger(func(d *workload.Destination) { d.Paths = rule }), h, b); (got == "") != want {
			t.Errorf("%q: %q", path, got)
		}
	}
	for target, want := range map[string]workload.Anonymous{
		"/api/x#y": workload.AnonymousUnsafePath, "/api/x#/../..": workload.AnonymousUnsafePath, "http://a/api/..;/x": workload.AnonymousUnsafePath,
		"http://a/api/x": "", "/other": workload.AnonymousPath, "/api": workload.AnonymousPath, "http://a#/api/": workload.AnonymousUnsafePath,
	} {
		b := []byte("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n")
		h, _, err := parseHead(b)
		must(t, err)
		if got := outsideRule(ledger(func(d *workload.Destination) { d.Paths = rule }), h, b); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
		if got := outsideRule(ledger(), h, b); got != "" {
			t.Errorf("%q without paths: %q", target, got)
		}
	}
}

// The token takes the place of the first Authorization; all else stays.
func TestRewrite(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n" + bearer + "\r\n"},
		{"GET / HTTP/1.1\r\nauthorization: x\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n" + bearer + "Host: a\r\n\r\n"},
		{"GET / HTTP/1.1\r\nA: 1\r\nAuthorization: x\r\nHost: a\r\nAUTHORIZATION:\r\nB: 2\r\nAuthorization: y\r\n\r\n",
			"GET / HTTP/1.1\r\nA: 1\r\n" + bearer + "Host: a\r\nB: 2\r\n\r\n"},
	} {
		h, done, err := parseHead([]byte(c.in))
		if !done || err != nil {
			t.Fatal(err)
		}
		if got := string(appendInjected(nil, []byte(c.in), h, someToken(t))); got != c.want {
			t.Errorf("%q became\n%q, want\n%q", c.in, got, c.want)
		}
	}
}

func TestMessagesQuoteNobody(t *testing.T) {
	_, _, err := parseHead([]byte("GET / HTTP/1.1\r\nAuthorization: sec\x00ret\r\n\r\n"))
	if err == nil || strings.Contains(fmt.Sprint(err), "sec") {
		t.Errorf("error %v", err)
	}
}
