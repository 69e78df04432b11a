package injector

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

func someToken(t testing.TB) token.Token {
	t.Helper()
	tok, err := token.New(theToken, "id-1", time.Unix(1, 0), time.Unix(2, 0))
	must(t, err)
	return tok
}

// feedAll feeds a body at once, or in pieces.
func feedAll(b []byte, piece int, strict bool) (n int, done bool, err error) {
	var c chunked
	c.start(strict)
	for n < len(b) && !done && err == nil {
		var k int
		k, done, err = c.feed(b[n:min(n+piece, len(b))])
		n += k
	}
	return n, done, err
}

func TestChunkedBody(t *testing.T) {
	for _, c := range []struct {
		body string
		end  int // bytes that belong to it, or -1 if it is not complete
		err  error
	}{
		{"0\r\n\r\n", 5, nil},
		{"0\r\n\r\nGET", 5, nil},
		{"000\r\n\r\n", 7, nil},
		{"3\r\nabc\r\n0\r\n\r\nrest", 13, nil},
		{"A;x=y;z=\"q q\"\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n", 51, nil},
		{"a\r\n0123456789\r\n", -1, nil},
		{"1\r\na\r\n0\r\n", -1, nil},
		{"\r\n", 0, errChunkSize},
		{"g\r\n", 0, errChunkSize},
		{"-1\r\n", 0, errChunkSize},
		{"0x1\r\n", 1, errChunkSize},
		{"1 \r\na\r\n", 2, errChunkSize},
		{" 1\r\na\r\n", 0, errChunkSize},
		{"1\n", 1, errChunkSize},
		{"1\rx", 2, errChunkLine},
		{strings.Repeat("0", maxSizeDigits+1), maxSizeDigits, errChunkSize},
		{"1;a;b=c;d=\"e\\\" \r;f\r\nx\r\n0\r\n\r\n", 15, errChunkLine},
		{"1;a;b=c;d=\"e\\\" ;\";f\r\nx\r\n0\r\n\r\n", 29, nil},
		{"1;\r\n", 2, errChunkLine},
		{"1;;a\r\n", 2, errChunkLine},
		{"1;a=\r\n", 4, errChunkLine},
		{"1 \t; \ta\t = b ;c= \"d\" ; e\r\nx\r\n0 ;f\r\n\r\n", 37, nil},
		{"1 a\r\n", 2, errChunkSize},
		{"1;a \r\n", 4, errChunkLine},
		{"1;a b\r\n", 4, errChunkLine},
		{"1;a=b \r\n", 6, errChunkLine},
		{"1;a=b c\r\n", 6, errChunkLine},
		{"1;a=\"b\" =\r\n", 8, errChunkLine},
		{"1; \r\n", 3, errChunkLine},
		{"1" + strings.Repeat(" ", maxChunkLine), maxChunkLine, errChunkLine},
		{"1;a=b=c\r\n", 5, errChunkLine},
		{"1;a=\"b\"c\r\n", 7, errChunkLine},
		{"1;a=\"b\x80\"\r\n", 6, errChunkLine},
		{"1;\x00", 2, errChunkLine},
		{"1;\n", 2, errChunkLine},
		{"1;\x80", 2, errChunkLine},
		{"1;" + strings.Repeat("x", maxChunkLine), 1 + maxChunkLine, errChunkLine},
		{strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 66), 65*1007 + 2 + maxChunkExtra - 65*1001, errChunkLine},
		{"1\r\nab", 4, errChunkEnd},
		{"1\r\na\n", 4, errChunkEnd},
		{"1\r\na\rx", 5, errChunkEnd},
		{"0\r\nX\r\n", 4, errTrailer},
		{"0\r\n: x\r\n", 3, errTrailer},
		{"0\r\nX : y\r\n", 4, errTrailer},
		{"0\r\n folded\r\n", 3, errTrailer},
		{"0\r\nX: \x00\r\n", 6, errTrailer},
		{"0\r\nX: y\n", 7, errTrailer},
		{"0\r\nX: y\rz", 8, errTrailer},
		{"0\r\n\rx", 4, errTrailer},
		{"0\r\nX: " + strings.Repeat("y", maxTrailers), 3 + maxTrailers, errTrailer},
		{"0\r\nAUTHORIZATION: x\r\n\r\n", 16, errTrailerName},
		{"0\r\nProxy-Authorization: x\r\n\r\n", 22, errTrailerName},
		{"0\r\nContent-Length: 1\r\n\r\n", 17, errTrailerName},
		{"0\r\nX-Sum: 1\r\nHost: x\r\n\r\n", 17, errTrailerName},
		{"0\r\nProxy-Authorizations: x\r\n\r\n", 30, nil},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			n, done, err := feedAll([]byte(c.body), piece, true)
			if c.end < 0 && (done || err != nil || n != len(c.body)) ||
				c.end >= 0 && (done != (c.err == nil) || !errors.Is(err, c.err)) ||
				c.end >= 0 && n != c.end {
				t.Errorf("%.40q in pieces of %d: %d, %t, %v; want %d, %v", c.body, piece, n, done, err, c.end, c.err)
			}
		}
	}
}

// Of a response's body what is taken by clients is, where they agree about its end,
// or else with a doubt.
func TestChunkedResponse(t *testing.T) {
	for _, c := range []struct {
		body  string
		end   int
		doubt *refusal
		err   error
	}{
		{"0\r\nAuthorization: x\r\n\r\n", 23, nil, nil},
		{"3 \t\r\nabc\r\n0 \r\n\r\n", 16, nil, nil},
		{"0000000000000000000000000000000003\r\nabc\r\n00000000000000000000\r\n\r\n", 65, nil, nil},
		{"3\nabc\r\n0\n\r\n", 11, nil, nil},
		{"1;;a=\"\x80 ;\r\na\r\n0 ;\r\nX\r\n : \x00\r\n\r\n", 30, nil, nil},
		{"1;" + strings.Repeat("x", 1<<17) + "\r\na\r\n0\r\nX: " + strings.Repeat("y", 1<<17) + "\r\n\r\n", 1<<18 + 17, nil, nil},
		{"0\r\n\n", 4, errBareLF, nil},
		{"0\r\nX: y\n\r\n", 10, errBareLF, nil},
		{"0\r\nX: y\r\n\n", 10, errBareLF, nil},
		{" 3\r\n", 0, nil, errChunkSize},
		{"3 3\r\n", 2, nil, errChunkSize},
		{"0x3\r\n", 1, nil, errChunkSize},
		{"+3\r\n", 0, nil, errChunkSize},
		{"\r\n", 0, nil, errChunkSize},
		{"1000000000000000\r\n", 15, nil, errChunkSize},
		{strings.Repeat("0", maxChunkLine+1), maxChunkLine, nil, errChunkLine},
		{"3\rabc", 2, nil, errChunkLine},
		{"3;a\nabc\r\n", 3, nil, errChunkLine},
		{"3\r\nabc\n0\r\n\r\n", 6, nil, errChunkEnd},
		{"0\r\n\rX", 4, nil, errTrailer},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			n, done, err := feedAll([]byte(c.body), piece, false)
			var whole chunked
			_, _, _ = whole.feed([]byte(c.body))
			if done != (c.err == nil) || !errors.Is(err, c.err) || n != c.end || whole.doubt != c.doubt {
				t.Errorf("%.40q in pieces of %d: %d, %t, %v, doubt %v; want %d, %v, doubt %v", c.body, piece, n, done, err, whole.doubt, c.end, c.err, c.doubt)
			}
		}
	}
}

// What a server must not see before it is known to be harmless is held, whatever the
// pieces: a size, and from the last chunk on everything.
func TestHeldBytes(t *testing.T) {
	const body, last = "1;a=b\r\nx\r\n0a\r\n0123456789\r\n", "00;c\r\nX: y\r\nZ: \r\n\r\n"
	var c chunked
	c.start(true)
	for i := range len(body + last) {
		_, done, err := c.feed([]byte((body + last)[i : i+1]))
		must(t, err)
		want := 0
		switch at := i + 1; {
		case at < len("1;a=b\r\n"):
			want = at
		case at > len("1;a=b\r\nx\r\n") && at < len("1;a=b\r\nx\r\n0a\r\n"):
			want = at - len("1;a=b\r\nx\r\n")
		case at > len(body) && !done:
			want = at - len(body)
		}
		if c.held != want {
			t.Errorf("%d bytes are held of %q, want %d", c.held, (body + last)[:i+1], want)
		}
	}
}

func parseResponse(b []byte) (*response, bool, error) {
	r := new(response)
	r.reset()
	done, err := r.parse(b)
	return r, done, err
}

func TestResponseHead(t *testing.T) {
	get, head, connect, upgrade := &exchange{}, &exchange{headOnly: true}, &exchange{connect: true}, &exchange{upgrade: true}
	for _, c := range []struct {
		head string
		ex   *exchange
		want body
		err  error
	}{
		{"HTTP/1.1 200 OK\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 200 \r\n\r\n", get, closeBody, nil},
		{"HTTP/1.0 200\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", head, noBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head, noBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, chunkedBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 100 x\r\n\r\n", get, interimHead, nil},
		{"HTTP/1.1 199 x\r\n\r\n", connect, interimHead, nil},
		{"HTTP/1.1 101 x\r\n\r\n", upgrade, switchedHead, nil},
		{"HTTP/1.1 101 x\r\n\r\n", get, noBody, errSwitch},
		{"HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n", connect, switchedHead, nil},
		{"HTTP/1.1 407 x\r\nContent-Length: 3\r\n\r\n", connect, lengthBody, nil},
		{"HTTP/1.1 200 OK\nX: y\nContent-Length: 3\n\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\n\r\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\nX: a\r\n b: c\r\n\t\r\nContent-Length: 3\r\n\r\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length:\t03\t\r\n\r\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 5000) + "\r\n", get, closeBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding:\tchunked\t\r\n\r\n", get, chunkedBody, nil},
		{"HTTP/1.1 204 x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 3\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 200 OK\r\n X: a\r\n\r\n", get, 0, errFold},
		{"HTTP/1.1 200 OK\r\nContent-Length:\r\n 3\r\n\r\n", get, 0, errLength},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n 3\r\n\r\n", get, 0, errFold},
		{"HTTP/1.1 200 OK\r\nX y: a\r\n\r\n", get, 0, errFieldName},
		{"HTTP/1.1 200 OK\r\nX\r\n\r\n", get, 0, errFieldName},
		{"HTTP/1.1 200 OK\r\n: a\r\n\r\n", get, 0, errFieldName},
		{"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", get, 0, errFieldValue},
		{"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 3\r\n\r\n", get, 0, errFieldValue},
		{"HTTP/1.1 200 OK\r\nX: a\r\r\n\r\n", get, 0, errFieldValue},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", get, 0, errTwoLengths},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n", get, 0, errTwoLengths},
		{"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", get, 0, errLength},
		{"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", get, 0, errLength},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3,,3\r\n\r\n", get, 0, errLength},
		{"HTTP/2.0 200 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 20 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 2000\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 099 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 200 a\rb\r\n\r\n", get, 0, errStatusLine},
		{"\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxResponseHead), get, 0, errResponseHead},
	} {
		r, done, err := parseResponse([]byte(c.head))
		var got body
		if err == nil {
			got, err = r.frame(c.ex)
		}
		if done != (c.err == nil || c.err == errSwitch) || !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%.60q: %d, %t, %v; want %d, %v", c.head, got, done, err, c.want, c.err)
		}
	}
}

// Where clients differ about the end of a response there is a doubt, but not where it
// has no body for any of them.
func TestResponseDoubt(t *testing.T) {
	get, head := &exchange{}, &exchange{headOnly: true}
	for _, c := range []struct {
		head  string
		ex    *exchange
		want  body
		doubt *refusal
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", get, lengthBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", get, lengthBody, errTwoLengths},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3,\r\n\r\n", get, lengthBody, errTwoLengths},
		{"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n", get, lengthBody, errFieldName},
		{"HTTP/1.1 200 OK\r\nX\t: y\r\n\r\n", get, closeBody, errFieldName},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", get, chunkedBody, errLengthAndCoding},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, chunkedBody, errCodingVersion},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", get, chunkedBody, errCodingUnknown},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", get, chunkedBody, errCodingUnknown},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n", get, chunkedBody, errCodingUnknown},
		{"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", get, noBody, errCoding},
		{"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", get, noBody, errCoding},
		{"HTTP/1.1 204 x\r\nX : y\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n", get, chunkedBody, errCoding},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding:\t chunked\r\n\r\n", get, chunkedBody, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", head, noBody, nil},
	} {
		r, done, err := parseResponse([]byte(c.head))
		if !done || err != nil {
			t.Errorf("%q: %t, %v", c.head, done, err)
			continue
		}
		if got, err := r.frame(c.ex); got != c.want || err != nil || r.doubt != c.doubt {
			t.Errorf("%q: %d, %v, doubt %v; want %d, doubt %v", c.head, got, err, r.doubt, c.want, c.doubt)
		}
	}
}
