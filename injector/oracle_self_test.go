package injector

import (
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// The oracle has to see what it is for: each conversation is first judged as it
// was, and then as it would have been with one thing wrong.
func TestOracleNotices(t *testing.T) {
	const (
		post        = "POST /b HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 3\r\n\r\nabc"
		elsewhere   = "GET /c HTTP/1.1\r\nHost: elsewhere.internal\r\n\r\n"
		chunkedPost = "POST / HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"
		bad         = get + "X : y\r\n\r\n"
	)
	arrive := func(change func(string) string) func(*talk) {
		return func(t *talk) {
			t.messages = nil
			for rest := change(t.arrived); rest != ""; {
				m, err := readMessage(rest)
				if t.odd = err; err != nil {
					return
				}
				t.messages, rest = append(t.messages, m), rest[len(m.raw):]
			}
		}
	}
	replace := func(old, new string) func(*talk) {
		return arrive(func(s string) string { return strings.Replace(s, old, new, 1) })
	}
	r := corpusWorld(t)
	for name, c := range map[string]struct {
		sent   string
		doctor func(*talk)
	}{
		"token twice":                 {get + "\r\n", replace(bearer, bearer+bearer)},
		"no token":                    {get + "\r\n", replace(bearer, "")},
		"token in a trailer":          {chunkedPost, replace("X: y", strings.TrimSuffix(bearer, "\r\n"))},
		"own credentials left":        {get + own + "\r\n", replace(bearer, bearer+own)},
		"token at another place":      {get + own + "X: y\r\n\r\n", replace(bearer+"X: y\r\n", "X: y\r\n"+bearer)},
		"a byte less in a head":       {get + "\r\n", replace("secret", "secre")},
		"a byte less in a field":      {get + "X: yy\r\n\r\n", replace("yy", "y")},
		"a byte changed in a body":    {post, replace("abc", "abd")},
		"token without a destination": {elsewhere, replace("\r\n\r\n", "\r\n"+bearer+"\r\n")},
		"a byte less without a token": {elsewhere, replace("/c", "/")},
		"one request lost":            {post + elsewhere, arrive(func(s string) string { return s[:strings.Index(s, "GET /c")] })},
		"one request twice":           {elsewhere, arrive(func(s string) string { return s + s })},
		"requests in another order": {elsewhere + post, arrive(func(s string) string {
			i := strings.Index(s, "POST")
			return s[i:] + s[:i]
		})},
		"forwarded after a refusal":   {bad + elsewhere, arrive(func(s string) string { return s + elsewhere })},
		"forwarded what was refused":  {bad, arrive(func(string) string { return bad })},
		"a record too many":           {post, func(t *talk) { t.uses = append(t.uses, t.uses[0]) }},
		"a record too few":            {post, func(t *talk) { t.uses = nil }},
		"another outcome":             {post, func(t *talk) { t.uses[0].Outcome = workload.NoDestination }},
		"another method":              {post, func(t *talk) { t.uses[0].Method = "GET" }},
		"a record after a refusal":    {bad, func(t *talk) { t.uses = append(t.uses, telemetry.Use{Outcome: workload.Injected}) }},
		"another answer":              {post, func(t *talk) { t.received = strings.Replace(t.received, "hi", "ho", 1) }},
		"an answer too many":          {post, func(t *talk) { t.received += ok }},
		"no answer to what is bad":    {bad, func(t *talk) { t.received = "" }},
		"something relayed is lost":   {"\x16\x03\x01", func(t *talk) { t.arrived = t.arrived[:2] }},
		"something relayed is added":  {"\x16\x03\x01", func(t *talk) { t.arrived += theToken }},
		"nothing said about the rest": {elsewhere, func(t *talk) { t.sent += "GET" }},
		"refusing rule replaced": {"GET / HTTP/1.1\r\nHost: refusing.internal\r\n" + own + "\r\n", func(t *talk) {
			*t = talk{sent: t.sent, arrived: strings.Replace(t.sent, own, bearer, 1), uses: []telemetry.Use{{Outcome: workload.Injected, Method: "GET"}}}
			arrive(func(s string) string { return s })(t)
		}},
	} {
		talk, err := r.converse(c.sent)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := judge(talk); err != nil {
			t.Errorf("%s: at first: %v", name, err)
		}
		c.doctor(talk)
		err = judge(talk)
		if err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
