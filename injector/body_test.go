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
		{"1 \r\na\r\n", 1, errChunkSize},
		{" 1\r\na\r\n", 0, errChunkSize},
		{"1\n", 1, errChunkSize},
		{"1\rx", 2, errChunkLine},
		{strings.Repeat("0", maxSizeDigits+1), maxSizeDigits, errChunkSize},
		{"1;a;b=c;d=\"e\\\" \r;f\r\nx\r\n0\r\n\r\n", 15, errChunkLine},
		{"1;a;b=c;d=\"e\\\" ;\";f\r\nx\r\n0\r\n\r\n", 29, nil},
		{"1;\r\n", 2, errChunkLine},
		{"1;;a\r\n", 2, errChunkLine},
		{"1;a=\r\n", 4, errChunkLine},
		{"1;a =b\r\n", 3, errChunkLine},
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
	if _, done, err := feedAll([]byte("0\r\nAuthorization: x\r\n\r\n"), 100, false); !done || err != nil {
		t.Errorf("a response's trailers: %t, %v", done, err)
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
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", get, chunkedBody, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", get, closeBody, nil},
		{"HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", get, noBody, nil},
		{"HTTP/1.1 100 x\r\n\r\n", get, interimHead, nil},
		{"HTTP/1.1 199 x\r\n\r\n", connect, interimHead, nil},
		{"HTTP/1.1 101 x\r\n\r\n", upgrade, switchedHead, nil},
		{"HTTP/1.1 101 x\r\n\r\n", get, noBody, errSwitch},
		{"HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n", connect, switchedHead, nil},
		{"HTTP/1.1 407 x\r\nContent-Length: 3\r\n\r\n", connect, lengthBody, nil},
		{"HTTP/1.1 200 OK\n\n", get, 0, errBareLF},
		{"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", get, 0, errFold},
		{"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", get, 0, errFieldName},
		{"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", get, 0, errFieldValue},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", get, 0, errTwoLengths},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", get, 0, errLengthAndCoding},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, 0, errCodingVersion},
		{"HTTP/2.0 200 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 20 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 2000\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 099 OK\r\n\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 200 a\rb\r\n\r\n", get, 0, errStatusLine},
		{"\r\n", get, 0, errStatusLine},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxHead), get, 0, errHeadSize},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxFields+1), get, 0, errFieldCount},
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
