package injector

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// What a request may name as its host, in either version and form, and what that
// makes of it: "" is refused.
func TestHosts(t *testing.T) {
	const no, yes, other = workload.Outcome(""), workload.Injected, workload.NoDestination
	r := corpusWorld(t)
	for _, c := range []struct {
		line, fields string
		want         workload.Outcome
	}{
		{"GET / HTTP/1.1", "", no},
		{"GET / HTTP/1.0", "", other},
		{"GET / HTTP/1.1", "Host:\r\n", other},
		{"GET / HTTP/1.1", "Host: \t \r\n", other},
		{"GET / HTTP/1.1", "Host: ledger.internal\r\n", yes},
		{"GET / HTTP/1.0", "Host: ledger.internal\r\n", yes},
		{"GET / HTTP/1.1", "host:LEDGER.internal\r\n", yes},
		{"GET / HTTP/1.1", "Host: ledger.internal.\r\n", yes},
		{"GET / HTTP/1.1", "Host: ledger.internal:80\r\n", yes},
		{"GET / HTTP/1.1", "Host: ledger.internal:\r\n", yes},
		{"GET / HTTP/1.1", "Host: ledger.internal:00080\r\n", yes},
		{"GET / HTTP/1.1", "Host: ledger.internal:8080\r\n", workload.DestinationUnverified},
		{"GET / HTTP/1.1", "Host: ledger.internal..\r\n", other},
		{"GET / HTTP/1.1", "Host: .ledger.internal\r\n", other},
		{"GET / HTTP/1.1", "Host: ledger%2einternal\r\n", other},
		{"GET / HTTP/1.1", "Host: ledger.internal%00\r\n", other},
		{"GET / HTTP/1.1", "Host: ledger.internal,elsewhere.internal\r\n", other},
		{"GET / HTTP/1.1", "Host: [::1]:80\r\n", other},
		{"GET / HTTP/1.1", "Host: [ledger.internal]\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal elsewhere.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal/\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal#x\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal?x\r\n", no},
		{"GET / HTTP/1.1", "Host: http://ledger.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: x@ledger.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal@elsewhere.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal:80@elsewhere.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal\\@elsewhere.internal\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal:+80\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal:99999\r\n", no},
		{"GET / HTTP/1.1", "Host: \"ledger.internal\"\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger\xe3\x80\x82internal\r\n", no},
		{"GET / HTTP/1.1", "Host: \x06\r\n", no},
		{"GET / HTTP/1.1", "Host: ledger.internal\r\nHost: ledger.internal\r\n", no},
		{"GET / HTTP/1.0", "Host: ledger.internal\r\nHost: elsewhere.internal\r\n", no},
		{"GET / HTTP/1.1", "X-Host: ledger.internal\r\nHost: elsewhere.internal\r\nX-Forwarded-Host: ledger.internal\r\n", other},
		{"GET http://ledger.internal HTTP/1.1", "Host: ledger.internal\r\n", yes},
		{"GET HTTP://Ledger.Internal:80/?x HTTP/1.1", "Host: ledger.internal.\r\n", yes},
		{"GET http://ledger.internal/ HTTP/1.0", "", yes},
		{"GET http://ledger.internal/ HTTP/1.1", "", no},
		{"GET http://ledger.internal/ HTTP/1.1", "Host: ledger.internal:81\r\n", no},
		{"GET http://ledger.internal\\@elsewhere.internal/ HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"GET http://x@ledger.internal/ HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"GET http:ledger.internal/ HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"GET http:/ledger.internal/ HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"GET https://ledger.internal:80/ HTTP/1.1", "Host: ledger.internal\r\n", workload.Untouched},
		{"GET //elsewhere.internal/x HTTP/1.1", "Host: ledger.internal\r\n", yes},
		{"GET /http://elsewhere.internal/x HTTP/1.1", "Host: ledger.internal\r\n", yes},
		{"GET ../../etc/passwd HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"GET ?x HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"NOTIFY * HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"OPTIONS * HTTP/1.1", "Host: ledger.internal\r\n", yes},
		{"OPTIONS * HTTP/1.1", "Host: elsewhere.internal\r\n", other},
		{"CONNECT ledger.internal:80 HTTP/1.1", "Host: ledger.internal:80\r\n", workload.Untouched},
		{"CONNECT ledger.internal:80 HTTP/1.1", "", no},
		{"CONNECT ledger.internal HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"CONNECT /ledger HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"CONNECT http://ledger.internal:80/ HTTP/1.1", "Host: ledger.internal\r\n", no},
		{"CONNECT [::1]:80 HTTP/1.1", "Host: [::1]:80\r\n", workload.Untouched},
		{"connect ledger.internal:80 HTTP/1.1", "Host: ledger.internal\r\n", no},
	} {
		talk, err := r.converse(c.line + "\r\n" + c.fields + "\r\n" + canary)
		must(t, err)
		if err := judge(talk); err != nil {
			t.Errorf("%s, %q: %v", c.line, c.fields, err)
		}
		if got := talk.uses[0].Outcome; got != c.want && (c.want != no || got != workload.BadRequest) {
			t.Errorf("%s, %q is %s (%v), want %q", c.line, c.fields, got, talk.uses[0].Reason, c.want)
		}
	}
}

// The longest bodies that can be announced, and one more digit.
func TestLongestLengths(t *testing.T) {
	r := corpusWorld(t)
	for length, accepted := range map[string]bool{
		strings.Repeat("9", 18): true, strings.Repeat("0", 17) + "5": true,
		"9223372036854775807": false, "9223372036854775808": false, strings.Repeat("0", 18) + "5": false,
	} {
		talk, err := r.converse(fmt.Sprintf("POST / HTTP/1.1\r\n"+toLedger+"Content-Length: %s\r\n\r\nabc", length))
		must(t, err)
		if err := judge(talk); err != nil || isRefused(talk) == accepted {
			t.Errorf("length %s: refused %t, %v", length, isRefused(talk), err)
		}
	}
}
