package injector

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// What a user meets whose program sends something that cannot be forwarded
// safely: after a request that is in order, and as the first one unless that is
// relayed, since the connection then does not begin as HTTP.
func TestRefusals(t *testing.T) {
	const post = "POST / HTTP/1.1\r\n" + toLedger
	r := corpusWorld(t)
	for _, c := range []struct {
		name    string
		sent    string
		status  int
		code    string
		relayed bool // as the first line of a connection
	}{
		{"head over the limit", get + "X: " + strings.Repeat("y", maxHead) + "\r\n\r\n", 431, "head_size", false},
		{"first line over the limit", "GET /" + strings.Repeat("y", maxHead) + " HTTP/1.1\r\n\r\n", 431, "head_size", false},
		{"too many fields", "GET / HTTP/1.1\r\n" + toLedger + strings.Repeat("X: y\r\n", maxFields) + "\r\n", 431, "field_count", false},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "two_lengths", false},
		{"two equal lengths", post + "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", 400, "two_lengths", false},
		{"a list of lengths", post + "Content-Length: 3, 3\r\n\r\nabc", 400, "length", false},
		{"length with coding", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "length_and_coding", false},
		{"folded line", get + "X: y\r\n z\r\n\r\n", 400, "folded_line", false},
		{"space before the first field", "GET / HTTP/1.1\r\n " + toLedger + "\r\n", 400, "folded_line", false},
		{"bare LF after the request line", "GET / HTTP/1.1\n" + toLedger + "\r\n", 400, "bare_lf", false},
		{"bare LF after a field", get + "X: y\nZ: z\r\n\r\n", 400, "bare_lf", false},
		{"bare LF at the end", get + "\n", 400, "bare_lf", false},
		{"bare CR after the request line", "GET / HTTP/1.1\r" + toLedger + "\r\n", 400, "request_line", false},
		{"bare CR in a value", get + "X: y\rZ: z\r\n\r\n", 400, "field_value", false},
		{"bare CR in a name", get + "X\rZ: z\r\n\r\n", 400, "field_name", false},
		{"bare CR in the target", "GET /\r HTTP/1.1\r\n" + toLedger + "\r\n", 400, "request_line", true},
		{"NUL in a value", get + "X: \x00\r\n\r\n", 400, "field_value", false},
		{"NUL in a name", get + "X\x00: y\r\n\r\n", 400, "field_name", false},
		{"NUL in the target", "GET /\x00 HTTP/1.1\r\n" + toLedger + "\r\n", 400, "request_line", true},
		{"space before a colon", get + "X : y\r\n\r\n", 400, "field_name", false},
		{"a line without a colon", get + "X\r\n\r\n", 400, "field_name", false},
		{"chunk size overflow", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", 400, "chunk_size", false},
		{"chunk size with a prefix", post + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400, "chunk_size", false},
		{"chunk extension", post + "Transfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n0\r\n\r\n", 400, "chunk_line", false},
		{"chunk longer than its size", post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400, "chunk_end", false},
		{"trailer without a name", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n: x\r\n\r\n", 400, "trailer", false},
		{"credentials in a trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n", 400, "trailer_name", false},
		{"unknown coding", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "unknown_coding", false},
		{"coding that frames nothing", post + "Transfer-Encoding: gzip\r\n\r\n", 400, "coding", false},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\n" + toLedger + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "coding_version", false},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "no_host", false},
		{"two Hosts", get + toLedger + "\r\n", 400, "two_hosts", false},
		{"malformed Host", "GET / HTTP/1.1\r\nHost: ledger.internal/x\r\n\r\n", 400, "host", false},
		{"absolute form and another Host", "GET http://elsewhere.internal/ HTTP/1.1\r\n" + toLedger + "\r\n", 400, "host_differs", false},
		{"absolute form and an empty Host", "GET http://ledger.internal/ HTTP/1.1\r\nHost:\r\n\r\n", 400, "host_differs", false},
		{"target of no form", "GET ledger.internal/x HTTP/1.1\r\n" + toLedger + "\r\n", 400, "target", false},
		{"body of CONNECT", "CONNECT ledger.internal:80 HTTP/1.1\r\n" + toLedger + "Content-Length: 1\r\n\r\nx", 400, "connect_body", false},
		{"nominated credentials", get + "Connection: close, authorization\r\n\r\n", 400, "nomination", false},
		{"many credentials", get + strings.Repeat(own, maxAuthorization+1) + "\r\n", 400, "credentials", false},
		{"another minor version", "GET / HTTP/1.2\r\n" + toLedger + "\r\n", 505, "version", false},
		{"HTTP/0.9", "GET /\r\n", 400, "request_line", true},
		{"HTTP/0.9 with a version", "GET / HTTP/0.9\r\n" + toLedger + "\r\n", 505, "version", true},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version", true},
		{"TLS", "\x16\x03\x01\x00\x05\r\n", 400, "request_line", true},
		{"cut head", get + "X: y", 400, "head_cut", false},
	} {
		if err := r.refuses(get+"\r\n", c.sent, 1, c.status, c.code); err != nil {
			t.Errorf("%s, after a request: %v", c.name, err)
		}
		if !c.relayed {
			if err := r.refuses("", c.sent, 0, c.status, c.code); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if talk, err := r.converse(c.sent); err != nil || !isRelayed(talk) || judge(talk) != nil {
			t.Errorf("%s is not relayed: %v, %+v", c.name, err, talk)
		}
	}
}

// refuses plays a conversation that ends in a refusal, and another request after
// it, which must go nowhere.
func (r *recorder) refuses(before, bad string, forwarded, status int, code string) error {
	sent := before + bad
	if code != "head_cut" {
		sent += canary
	}
	talk, err := r.converse(sent)
	if err != nil {
		return err
	}
	if err := judge(talk); err != nil {
		return err
	}
	last := talk.uses[len(talk.uses)-1]
	if last.Outcome != workload.BadRequest || last.Status != status || last.Refusal != code || talk.complete() != forwarded {
		return fmt.Errorf("%d forwarded, then %s %d %q; want %d, then %d %q", talk.complete(), last.Outcome, last.Status, last.Refusal, forwarded, status, code)
	}
	series := fmt.Sprintf("lanyard_bad_requests_total{reason=%q} 1\n", code)
	if metrics, err := scrape(last); err != nil || !strings.Contains(metrics, series) {
		return fmt.Errorf("the metrics lack %q: %v\n%s", series, err, metrics)
	}
	return nil
}

// scrape returns the metrics after one record.
func scrape(u telemetry.Use) (string, error) {
	rec, err := telemetry.Setup(context.Background(), telemetry.Options{})
	if err != nil {
		return "", err
	}
	rec.Use(u)
	answer := httptest.NewRecorder()
	rec.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String(), rec.Shutdown(context.Background())
}

// Every refusal has a code of its own, which is a label that fits and is documented.
func TestRefusalCodes(t *testing.T) {
	source, err := os.ReadFile("refusal.go")
	must(t, err)
	document, err := os.ReadFile("../docs/architecture.md")
	must(t, err)
	literal := regexp.MustCompile(`&refusal\{(\d+), "([a-z_]*)", "`)
	var codes []string
	for _, found := range literal.FindAllStringSubmatch(string(source), -1) {
		status, code := found[1], found[2]
		if slices.Contains(codes, code) || code == "" {
			t.Errorf("code %q is not unique", code)
		}
		codes = append(codes, code)
		if documented := strings.Contains(string(document), "`"+code+"`"); documented != (status != "502") {
			t.Errorf("code %q of status %s is documented: %t", code, status, documented)
		}
		if n, err := strconv.Atoi(status); err != nil || n != 502 && reasons[n] == "" {
			t.Errorf("status %s of %q has no reason phrase", status, code)
		}
	}
	if n := strings.Count(string(source), "= &refusal{"); n != len(codes) || n < 30 {
		t.Errorf("%d codes of %d refusals", len(codes), n)
	}
}
