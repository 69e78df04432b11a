package injector

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// vector is a case of a corpus for a strict parser.
type vector struct {
	ID, Mode, Verdict string
	Complete          int    `json:"messages_complete"`
	Payload           []byte `json:"payload_b64"`
}

func readVectors(t *testing.T, mode string) []vector {
	t.Helper()
	b, err := os.ReadFile(lab.Shared(t, "vectors", "http1", "llhttp.json"))
	must(t, err)
	var all []vector
	must(t, json.Unmarshal(b, &all))
	all = slices.DeleteFunc(all, func(v vector) bool { return v.Mode != mode })
	if len(all) == 0 {
		t.Fatalf("the corpus has no case of mode %s", mode)
	}
	return all
}

// requestExceptions are the requests about which we and the corpus differ, each
// with the part of the RFC that permits it.
var requestExceptions = map[string]string{
	"llhttp/request/content-length.md:447":    "the second request is within the 123 bytes of the first one's body (RFC 9112 §6.3); the corpus resets its parser between them",
	"llhttp/request/invalid.md:69":            "a method is any token (RFC 9110 §9.1); the corpus knows a list",
	"llhttp/request/invalid.md:359":           "a method is any token (RFC 9110 §9.1); the corpus knows a list",
	"llhttp/request/method.md:99":             "a body of CONNECT has no meaning, and servers differ about it (RFC 9110 §9.3.6)",
	"llhttp/request/method.md:138":            "a target of * belongs to OPTIONS alone (RFC 9112 §3.2.4)",
	"llhttp/request/method.md:375":            "ICE is not HTTP: relayed (RFC 9112 §2.3)",
	"llhttp/request/method.md:405":            "RTSP is not HTTP: relayed (RFC 9112 §2.3)",
	"llhttp/request/method.md:433":            "RTSP is not HTTP: relayed (RFC 9112 §2.3)",
	"llhttp/request/method.md:461":            "PRI is no method of HTTP/1.1 (RFC 9113 §3.4), and a target of * belongs to OPTIONS alone (RFC 9112 §3.2.4)",
	"llhttp/request/sample.md:317":            "HTTP/0.9 is not HTTP/1 (RFC 9112 §3): relayed",
	"llhttp/request/transfer-encoding.md:754": "a server may answer 501 to a coding that it does not know (RFC 9112 §6.1)",
	"llhttp/request/transfer-encoding.md:796": "a server may refuse a coding that it does not know (RFC 9112 §6.1)",
	"llhttp/request/uri.md:151":               "clients such as curl send UTF-8 in targets as they are; it frames nothing (RFC 9112 §3.2 forbids white space)",
	"llhttp/request/uri.md:225":               "user information in http URIs is to be treated as an error (RFC 9110 §4.2.4)",
}

// What the corpus refuses is refused here or relayed without a token, and what it
// accepts is forwarded. Most of its requests lack a Host; the registered one is
// given to them, so that a token would be due.
func TestRequestVectors(t *testing.T) {
	r := corpusWorld(t)
	var c tally
	differing := map[string]bool{}
	for _, v := range readVectors(t, "request") {
		for _, substitute := range []bool{false, true} {
			talk, err := r.converse(withHost(string(v.Payload), substitute))
			must(t, err)
			if err := judge(talk); err != nil {
				t.Errorf("%s: %v", v.ID, err)
			}
			c.count(talk)
			if !differs(v, talk) {
				continue
			}
			differing[v.ID] = true
			if requestExceptions[v.ID] == "" {
				t.Errorf("%s is to be %sed: %d of %d requests forwarded, %+v\n%q", v.ID, v.Verdict, talk.complete(), v.Complete, talk.uses, talk.sent)
			}
		}
	}
	for id := range requestExceptions {
		if !differing[id] {
			t.Errorf("exception %s is none", id)
		}
	}
	c.exceptions = len(requestExceptions)
	c.print(t, "llhttp requests")
}

// differs reports whether we understood a case otherwise than the corpus.
func differs(v vector, t *talk) bool {
	if v.Verdict == "reject" {
		return t.complete() > v.Complete
	}
	return t.complete() < v.Complete || v.Complete == 0 && (isRefused(t) || isRelayed(t))
}

// complete returns how many requests arrived whole.
func (t *talk) complete() (n int) {
	for _, m := range t.messages {
		if m.whole {
			n++
		}
	}
	return n
}

var (
	firstLine  = regexp.MustCompile(`[A-Z-]+ \S+ HTTP/1\.[01]\r\n`)
	hostLine   = regexp.MustCompile(`(?i)\r\nhost:[^\r\n]*`)
	targetHost = regexp.MustCompile(`(?m)^([A-Z]+ http://(?:[^/?# @]*@)?)([^/?# ]+)`)
)

// withHost gives a Host to every head of a payload that has none: the registered
// one, or that of a target in absolute form. With substitute the hosts that there
// are become the registered one too.
func withHost(payload string, substitute bool) string {
	if substitute {
		payload = targetHost.ReplaceAllString(payload, "${1}ledger.internal")
		payload = hostLine.ReplaceAllString(payload, "\r\nHost: ledger.internal")
	}
	host := "ledger.internal"
	if absolute := targetHost.FindStringSubmatch(payload); absolute != nil {
		host = absolute[2]
	}
	var b strings.Builder
	for {
		at := firstLine.FindStringIndex(payload)
		if at == nil {
			return b.String() + payload
		}
		b.WriteString(payload[:at[1]])
		payload = payload[at[1]:]
		if head, _, _ := strings.Cut(payload, "\r\n\r\n"); !hostLine.MatchString("\r\n" + head) {
			b.WriteString("Host: " + host + "\r\n")
		}
	}
}
