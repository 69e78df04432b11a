package injector

import (
	"bufio"
	"bytes"
	"io"
	nethttp "net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"testing"
)

// Where net/http reads fewer chunked bodies than we do: it allows this much that
// is no data, and trailers that fit into its buffer.
const (
	netExtra    = 8 << 10
	netTrailers = 4 << 10
)

var blankBeforeExtension = regexp.MustCompile("[0-9A-Fa-f][ \t]+;")

// FuzzChunked holds that pieces make no difference, that what we take for whole
// net/http reads to the same end, trailers among it, with the same data, and that
// it finds no end in what we take for unfinished or refuse: such bytes were passed
// on already.
func FuzzChunked(f *testing.F) {
	for i, s := range []string{
		"0\r\n\r\n", "3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET", "ffffffff\r\n", "1\r\nab", "0\r\nHost: x\r\n\r\n",
		"A;x=\"\\\"\";y\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n", "1 \r\na\r\n0\r\n\r\n",
		"10000000000000003\r\nabc\r\n0\r\n\r\n", "3\r\nabc\rX0\r\n\r\n", "3\r\nabcXX0\r\n\r\n", "3\nabc\n0\n\n", "0x3\r\nabc\r\n0\r\n\r\n",
		"3;a\nb\r\nabc\r\n0\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\nX\r\n\r\n", "0\r\n\rX",
		"3 \t;a = b\r\nabc\r\n0\r\n\r\n", "0000000000000000000003 \r\nabc\r\n0;;\r\n\r\n", "3\nabc\r\n0\n\r\n",
	} {
		f.Add([]byte(s), uint16(5*i), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, spelt []byte, cut uint16, request bool) {
		b := spell(spelt)
		n, done, err := feedAll(b, len(b)+1, request)
		for _, piece := range []int{1, max(1, int(cut))} {
			if n1, done1, err1 := feedAll(b, piece, request); done != done1 || err != err1 || n != n1 {
				t.Fatalf("at once %d, %t, %v; in pieces of %d %d, %t, %v", n, done, err, piece, n1, done1, err1)
			}
		}
		data, extra, c := chunkedData(b[:n], request)
		if !done {
			if _, _, err := readChunked(b[:n], ""); err == nil {
				t.Fatalf("net/http finds an end in %q; we %v", b[:n], err)
			}
			return
		}
		if extra > netExtra || c.trailers > netTrailers/2 || c.doubt != nil {
			return
		}
		got, rest, err := readChunked(b[:n], following)
		if err != nil && (!request || blankBeforeExtension.Match(b[:n])) {
			return // a client that refuses it ends the connection; net/http knows no bad white space
		}
		if err != nil || got != data || rest != following {
			t.Fatalf("%q, data %q: net/http reads %q, leaves %q, %v", b[:n], data, got, rest, err)
		}
		if got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b[:n]))); err != nil || string(got) != data {
			t.Fatalf("%q, data %q: httputil reads %q, %v", b[:n], data, got, err)
		}
	})
}

// chunkedData returns the data of a body that we accepted, and how many bytes are
// none and how many are trailers.
func chunkedData(b []byte, request bool) (data string, extra int, c chunked) {
	c.start(request)
	var out strings.Builder
	for i := range b {
		if c.state == chunkData {
			out.WriteByte(b[i])
		} else {
			extra++
		}
		_, _, _ = c.feed(b[i : i+1])
	}
	return out.String(), extra, c
}

// readChunked has net/http read a request with this body, and tells what follows.
func readChunked(body []byte, then string) (data, rest string, err error) {
	in := bufio.NewReader(io.MultiReader(
		strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(body), strings.NewReader(then)))
	r, err := nethttp.ReadRequest(in)
	if err != nil {
		return "", "", err
	}
	read, err := io.ReadAll(r.Body)
	if err != nil {
		return string(read), "", err
	}
	left, err := io.ReadAll(in)
	return string(read), string(left), err
}

// FuzzResponse holds that a response head is understood the same however it
// arrives, and that net/http sees the same status and the same end of the body.
func FuzzResponse(f *testing.F) {
	for i, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.0 101\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nX:\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s), uint16(3*i), byte(0))
		f.Add([]byte(s), uint16(2*i), byte(1+i%7))
	}
	f.Fuzz(func(t *testing.T, spelt []byte, cut uint16, asked byte) {
		b := spell(spelt)
		whole, done, err := parseResponse(b)
		checkResponsePieces(t, b, int(cut), whole, done, err)
		switch {
		case done:
			compareResponse(t, b[:whole.size()], whole, &exchange{headOnly: asked&1 != 0, connect: asked&2 != 0, upgrade: asked&4 != 0})
		case err == nil:
			if r, err := nethttp.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil); err == nil {
				t.Fatalf("we wait for more, net/http has read %s", r.Status)
			}
		}
	})
}

func checkResponsePieces(t *testing.T, b []byte, cut int, whole *response, done bool, err error) {
	t.Helper()
	two, one := []int{min(cut, len(b)), len(b)}, make([]int, len(b)+1)
	for i := range one {
		one[i] = i
	}
	for _, ends := range [][]int{two, one} {
		r, d, e := new(response), false, error(nil)
		r.reset()
		for i := 0; i < len(ends) && !d && e == nil; i++ {
			d, e = r.parse(b[:ends[i]])
		}
		if d != done || e != err || *r != *whole || whole.size() > len(b) {
			t.Fatalf("at once %+v, %t, %v; in pieces %+v, %t, %v", whole, done, err, r, d, e)
		}
	}
}

func compareResponse(t *testing.T, b []byte, r *response, ex *exchange) {
	t.Helper()
	kind, err := r.frame(ex)
	switch {
	case err != nil, kind == switchedHead, r.doubt != nil: // refused; or what follows is not HTTP; or net/http may differ
		return
	case r.coded && !r.chunked: // net/http knows no coding but chunked; who reads to the end, or to the last chunk, can
		return
	}
	body, known := bodyOf(&r.framing)
	switch {
	case kind == noBody, kind == interimHead:
		body, known = "", true
	case kind == closeBody:
		body = "all the rest"
	}
	method := "GET"
	if ex.headOnly {
		method = "HEAD"
	}
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(b), strings.NewReader(body+following)))
	got, err := nethttp.ReadResponse(in, &nethttp.Request{Method: method})
	if err != nil {
		t.Fatalf("we accept what net/http refuses: %v", err)
	}
	if got.StatusCode != r.status || got.ProtoMajor != 1 || got.ProtoMinor != int(r.minor) {
		t.Fatalf("status %d of HTTP/1.%d, net/http %s of HTTP/%d.%d", r.status, r.minor, got.Status, got.ProtoMajor, got.ProtoMinor)
	}
	if !known {
		if got.ContentLength != r.length {
			t.Fatalf("length %d, net/http %d", r.length, got.ContentLength)
		}
		return
	}
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		t.Fatalf("net/http refuses the body: %v", err)
	}
	want := following
	if kind == closeBody {
		want = ""
	}
	if rest, _ := io.ReadAll(in); string(rest) != want {
		t.Fatalf("the response (%d) ends elsewhere for net/http, which leaves %q", kind, rest)
	}
}
