package injector

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"
)

// difference is a head that we accept and net/http refuses with this error.
type difference struct {
	err    string
	holds  func(b []byte, h *head) bool // whether such a head may be refused
	reason string
}

// admitted are all of them. None lets a server that reads as net/http does see
// another request than we do.
var admitted = []difference{
	{"invalid URL escape", func(b []byte, h *head) bool { return bytes.IndexByte(h.target.of(b), '%') >= 0 },
		"a target is passed on as it is; what a server makes of its escapes frames nothing, and rules with paths see it as ambiguous"},
	{"invalid URI for request", func(_ []byte, h *head) bool { return h.form == foreignForm },
		"a scheme that net/url does not know; such a request gets no token"},
	{"bad trailer key", func(_ []byte, h *head) bool { return h.chunked },
		"Trailer only announces; the trailers themselves are looked at when they come"},
}

// taken are the fields that net/http takes out of a request's.
var taken = map[string]string{
	"Host":              "becomes Request.Host, which is compared",
	"Transfer-Encoding": "becomes Request.TransferEncoding, which is compared",
	"Trailer":           "becomes Request.Trailer where the body is chunked",
}

// FuzzRequestDifferential holds that what we accept, net/http reads as the same
// request, that it ends there in the same place, and that what we take for
// unfinished it does not take for whole.
func FuzzRequestDifferential(f *testing.F) {
	for _, s := range heads {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, spelt []byte) {
		b := spell(spelt)
		h, done, err := parseHead(b)
		switch {
		case err != nil:
		case done:
			compareRequest(t, b[:h.size()], h)
		default:
			if r, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil {
				t.Fatalf("we wait for more, net/http has read %s %s", r.Method, r.RequestURI)
			}
		}
	})
}

// following follows a request in the same connection.
const following = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n"

// bodyOf makes a body for a head, of at most a few bytes.
func bodyOf(f *framing) (body string, ok bool) {
	switch {
	case f.chunked:
		return "3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", true
	case f.length > 1<<10:
		return "", false
	case f.length > 0:
		return strings.Repeat("x", int(f.length)), true
	}
	return "", true
}

func compareRequest(t *testing.T, b []byte, h *head) {
	t.Helper()
	body, known := bodyOf(&h.framing)
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(b), strings.NewReader(body+following)))
	r, err := nethttp.ReadRequest(in)
	if err != nil {
		for _, d := range admitted {
			if strings.Contains(err.Error(), d.err) && d.holds(b, h) {
				return
			}
		}
		t.Fatalf("we accept what net/http refuses: %v", err)
	}
	if r.Method != string(h.method.of(b)) || r.RequestURI != string(h.target.of(b)) || r.ProtoMajor != 1 || r.ProtoMinor != int(h.minor) {
		t.Fatalf("net/http reads %s %q HTTP/%d.%d", r.Method, r.RequestURI, r.ProtoMajor, r.ProtoMinor)
	}
	if chunked := len(r.TransferEncoding) > 0; chunked != h.chunked || !chunked && r.ContentLength != max(h.length, 0) {
		t.Fatalf("framing %+v, net/http %q and %d", h.framing, r.TransferEncoding, r.ContentLength)
	}
	if r.Close != h.last() {
		t.Fatalf("last %t, net/http %t", h.last(), r.Close)
	}
	compareAuthority(t, b, h, r)
	compareFields(t, b, h, r)
	if !known {
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatalf("net/http refuses the body: %v", err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != following {
		t.Fatalf("the request ends elsewhere for net/http, which leaves %q", rest)
	}
}

func compareAuthority(t *testing.T, b []byte, h *head, r *nethttp.Request) {
	t.Helper()
	want := h.authority
	if h.form == authorityForm { // net/http takes the target's for the host, and we inject nothing
		want, _ = parseAuthority(h.target.of(b))
	}
	if at, err := parseAuthority([]byte(r.Host)); err != nil || at != want {
		t.Fatalf("authority %v, net/http %q", want, r.Host)
	}
	if h.form != originForm && h.form != absoluteForm || strings.Contains(r.RequestURI, "#") { // net/http knows no fragments here
		return
	}
	if path, err := url.PathUnescape(string(h.path.of(b))); err != nil || path != r.URL.Path {
		t.Fatalf("path %q (%v), net/http %q", path, err, r.URL.Path)
	}
}

// compareFields compares all fields but those that net/http takes out of them.
func compareFields(t *testing.T, b []byte, h *head, r *nethttp.Request) {
	t.Helper()
	fields := nethttp.Header{}
	for from := bytes.IndexByte(b, '\n') + 1; from < h.size()-2; {
		end, next, err := nextLine(b, from)
		must(t, err)
		name, value, err := splitField(b, from, end)
		must(t, err)
		fields.Add(string(name.of(b)), string(value.of(b)))
		from = next
	}
	if n := len(fields["Authorization"]); n != h.credentials || n != len(r.Header["Authorization"]) {
		t.Fatalf("%d credentials, %d in the fields, net/http %d", h.credentials, n, len(r.Header["Authorization"]))
	}
	for name, values := range fields {
		if got := name + strings.Join(values, ""); strings.ContainsAny(name, " \t()<>@,;:\\\"/[]?={}") || strings.ContainsAny(got, "\r\n\x00\x7f") {
			t.Fatalf("field %q: %q, which net/http lets its server refuse", name, values)
		}
		if taken[name] != "" {
			continue
		}
		if got := r.Header[name]; strings.Join(got, "\n") != strings.Join(values, "\n") {
			t.Fatalf("%s: %q, net/http %q", name, values, got)
		}
		delete(r.Header, name)
	}
	if len(fields["Pragma"]) > 0 && len(fields["Cache-Control"]) == 0 {
		delete(r.Header, "Cache-Control") // which net/http adds
	}
	maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return taken[name] != "" })
	if len(r.Header) > 0 {
		t.Fatalf("net/http sees more fields: %q", r.Header)
	}
}
