package operator

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/token"
)

// answering is a transport that gives every request the same answer.
type answering struct {
	status         int
	date, location string
	body           []byte
	requests       []*http.Request
}

// RoundTrip implements http.RoundTripper.
func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.requests = append(a.requests, r)
	header := http.Header{"Date": {a.date}, "Location": {a.location}}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

// FuzzTokenResponse has an authority, or whoever is at its address, answer a
// request for a token with anything: the outcome is a token that can be used now,
// or one line that holds none of our secrets, after one more request at most.
func FuzzTokenResponse(f *testing.F) {
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return received }
	date := received.Format(http.TimeFormat)
	answer := func(claims string) []byte {
		return []byte(`{"jwt_id_token":"` + compact(es256, claims) + `"}`)
	}
	f.Add(uint16(200), date, "", answer(`{"iss":"op1:x","sub":"wl-1","aud":["a"],"jti":"a","iat":1772366400,"exp":1772370000}`), false)
	f.Add(uint16(201), "Sun, 01 Mar 2026 13:00:00 GMT", "", answer(`{"iss":"https://authority.test","sub":"wl-1","aud":"a","exp":1772370001.5}`), false)
	f.Add(uint16(401), "Mon, 02 Mar 2099 12:00:00 GMT", "", []byte(`{"message":"no"}`), false)
	f.Add(uint16(401), "Sun, 01 Mar 2026 11:00:00 GMT", "", []byte(`{"message":"the assertion is `), true)
	f.Add(uint16(302), date, "https://elsewhere/\x00?", []byte("<html>"), true)
	f.Add(uint16(403), date, "", []byte(`{"code":7,"message":"audience is not allowed\nx"}`), true)
	f.Add(uint16(307), date, "%\u074a", []byte(nil), false)
	f.Add(uint16(307), date, "%"+strings.Repeat("x", 10_000), []byte(nil), true)
	f.Add(uint16(307), date, "https://elsewhere/?", []byte(nil), true)
	f.Add(uint16(400), date, "", []byte(`{"message":"`), true)
	f.Add(uint16(503), "", "", []byte(`[]`), false)
	k, err := makeKey()
	if err != nil {
		f.Fatal(err)
	}
	base := "https://authority.test/operator"
	f.Fuzz(func(t *testing.T, status uint16, date, location string, body []byte, echo bool) {
		a := &answering{status: max(100, int(status)%1000), date: date, location: location, body: body}
		c := &Client{config: Config{Base: base, Now: now, StateDir: "/state"}, turn: make(chan struct{}, 1), caller: caller{
			base: base, timeout: time.Minute, clock: &clock{now: now}, client: &http.Client{
				Transport: echoing{a, echo}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		}}
		c.member.Store(&member{enrolment: Enrolment{Base: base, WorkloadID: "wl-1", OperatorID: "op1:x"}, signer: c.signer(k)})
		tok, err := c.Fetch(context.Background(), token.Request{Identity: "i", Audience: "a"})
		if n := len(a.requests); n == 0 || n > 2 {
			t.Fatalf("%d requests", n)
		}
		if err == nil {
			if tok.IsZero() || !tok.Expires().After(tok.Issued()) || strings.ContainsAny(tok.Reveal(), "\r\n\x00 ") || a.status/100 != 2 {
				t.Fatalf("token %v, status %d", tok, a.status)
			}
			return
		}
		if !tok.IsZero() {
			t.Fatal("a token and an error")
		}
		checkLine(t, err.Error(), a.requests)
	})
}

// echoing appends to a body, or to a message, what the request had for a secret.
type echoing struct {
	*answering
	on bool
}

// RoundTrip implements http.RoundTripper.
func (e echoing) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := e.answering.RoundTrip(r)
	if e.on {
		secret := strings.TrimPrefix(r.Header.Get("Authorization"), credentialType)
		answer.Body = io.NopCloser(io.MultiReader(bytes.NewReader(e.body), strings.NewReader(secret+`"}`)))
		answer.Header["Location"] = []string{e.location + secret}
	}
	return answer, err
}

// checkLine holds that an error can be logged.
func checkLine(t *testing.T, text string, requests []*http.Request) {
	t.Helper()
	if text == "" || len(text) > 4*serverurl.MaxWords || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("not a line of a log: %q", text)
	}
	for _, r := range requests {
		parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), credentialType), ".")
		for _, part := range parts {
			if len(parts) != 3 || strings.Contains(text, part[:20]) {
				t.Fatalf("the error holds a part of the assertion: %q", text)
			}
		}
	}
}
