package authority

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func tokenOf(t testing.TB, a answer) string {
	t.Helper()
	var got idTokenResponse
	a.decode(t, 200, &got)
	return got.JWT
}

func decodeToken(t testing.TB, a answer) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tokenOf(t, a), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(payload, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestIDToken(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{Tags: []string{"eyes"}})
	m := f.enrol(ticket.Ticket)
	now := float64(startTime.Unix())
	tests := map[string]struct {
		body    any
		aud     []any
		seconds float64
	}{
		"no body":   {nil, []any{}, 3600},
		"empty":     {`{}`, []any{}, 3600},
		"nulls":     {`{"audience":null,"ttl_seconds":null}`, []any{}, 3600},
		"audience":  {`{"audience":["https://ledger.internal"]}`, []any{"https://ledger.internal"}, 3600},
		"audiences": {`{"audience":["a","b"]}`, []any{"a", "b"}, 3600},
		"longest":   {`{"ttl_seconds":172800}`, []any{}, 172800},
		"shortest":  {`{"ttl_seconds":1}`, []any{}, 1},
	}
	ids := map[any]bool{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := decodeToken(t, m.idToken(tt.body))
			if id, _ := got["jti"].(string); !hasForm(id, "jwt1:", 24) || ids[id] {
				t.Errorf("jti %q", id)
			}
			ids[got["jti"]] = true
			delete(got, "jti")
			want := map[string]any{
				"aud": tt.aud, "iss": f.OperatorID(), "sub": m.id, "iat": now, "nbf": now, "exp": now + tt.seconds,
				"extra": map[string]any{"actions": map[string]any{}, "ids": map[string]any{}, "tags": []any{"eyes"}},
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("claims\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// TestAVerifierAcceptsTheToken: as the first seed's sample server does, by JWKS.
func TestAVerifierAcceptsTheToken(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	issued := m.idToken(`{"audience":["https://ledger.internal"]}`)
	if issued.header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	compact := tokenOf(t, issued)
	keys := f.send("GET", jwksPath, "", nil)
	if keys.status != 200 || keys.header.Get("Cache-Control") != jwksCacheControl || strings.Contains(keys.body, `"d"`) {
		t.Errorf("JWKS %d %v %s", keys.status, keys.header, keys.body)
	}
	set, err := jwk.Parse([]byte(keys.body))
	if err != nil {
		t.Fatal(err)
	}
	_, err = jwt.Parse([]byte(compact), jwt.WithKeySet(set), jwt.WithAudience("https://ledger.internal"), jwt.WithIssuer(f.OperatorID()),
		jwt.WithSubject(m.id), jwt.WithClock(jwt.ClockFunc(f.clock.Now)))
	if err != nil {
		t.Error(err)
	}
	message, err := jws.Parse([]byte(compact))
	if err != nil {
		t.Fatal(err)
	}
	if header := message.Signatures()[0].ProtectedHeaders(); header.Type() != "JWT" || header.Algorithm() != "ES256" || header.KeyID() == "" {
		t.Errorf("header %v", header)
	}
	if head := f.send("HEAD", jwksPath, "", nil); head.status != 200 || head.body != "" {
		t.Errorf("HEAD: %d %q", head.status, head.body)
	}
}

func TestIDTokenRequestForm(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	long := strings.Repeat("a", maxAudienceLength+1)
	for name, body := range map[string]string{
		"no JSON":             `nonsense`,
		"a list":              `[]`,
		"unknown member":      `{"audiences":["a"]}`,
		"twice":               `{"audience":["a"],"audience":["b"]}`,
		"audience a string":   `{"audience":"a"}`,
		"audience empty":      `{"audience":[""]}`,
		"audience twice":      `{"audience":["a","a"]}`,
		"audience with space": `{"audience":["a b"]}`,
		"audience newline":    `{"audience":["a\nb"]}`,
		"audience too long":   `{"audience":["` + long + `"]}`,
		"too many":            `{"audience":["1","2","3","4","5","6","7","8","9"]}`,
		"ttl zero":            `{"ttl_seconds":0}`,
		"ttl negative":        `{"ttl_seconds":-1}`,
		"ttl too long":        `{"ttl_seconds":172801}`,
		"ttl overflowing":     `{"ttl_seconds":9223372036854775807}`,
		"ttl beyond":          `{"ttl_seconds":92233720368547758070}`,
		"ttl a fraction":      `{"ttl_seconds":1.5}`,
		"ttl a string":        `{"ttl_seconds":"60"}`,
	} {
		t.Run(name, func(t *testing.T) { m.idToken(body).refused(t, 400) })
	}
	m.idToken(strings.Repeat(" ", maxIDTokenBytes+1)).refused(t, 413)
	f.send("GET", idTokenPath, "Bearer "+m.assertion(), nil).refused(t, 405)
}

// TestAssertions that are accepted; TestForgeriesAtEveryEndpoint has the others.
func TestAssertions(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	now := startTime.Unix()
	for name, change := range map[string]claims{
		"as our client does": {},
		"typ JWT":            {"header.typ": "JWT"},
		"no typ, no kid":     {"header.typ": nil, "header.kid": nil},
		"RFC 7523bis":        {"header.typ": "client-authentication+jwt"},
		"clock fast":         {"iat": now + 60, "exp": now + 120},
		"clock slow":         {"iat": now - 119, "exp": now - 59},
		"other claims":       {"nbf": now + 60, "anything": "else"},
	} {
		if got := m.idToken(nil, change); got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// TestAnAssertionIsUsedOnce, at once and one after the other, over a restart, and
// until its age refuses it anyway.
func TestAnAssertionIsUsedOnce(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	for range 5 {
		bearer := "Bearer " + m.assertion()
		var wg sync.WaitGroup
		var mu sync.Mutex
		count := map[int]int{}
		for range 8 {
			wg.Go(func() {
				got, err := f.trySend("POST", idTokenPath, bearer, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				count[got.status]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if count[200] != 1 || count[401] != 7 {
			t.Fatalf("answers %v, want one 200", count)
		}
	}
	// The longest that an assertion can be good for: a clock that is fast by a minute.
	now := f.clock.Now().Unix()
	bearer := "Bearer " + m.assertion(claims{"iat": now + 60, "exp": now + 120})
	f.send("POST", idTokenPath, bearer, nil).decode(t, 200, &idTokenResponse{})
	f.restart()
	for range 6 {
		f.clock.Advance(30 * time.Second)
		if err := f.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.send("POST", idTokenPath, bearer, nil).refused(t, 401)
	}
	f.clock.Advance(time.Second)
	if err := f.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.send("POST", idTokenPath, bearer, nil).refused(t, 401)
}

// TestTheDateFieldIsTheClockThatJudges: a client corrects its clock by it.
func TestTheDateFieldIsTheClockThatJudges(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	ahead := f.clock.Now().Add(10 * time.Minute).Unix()
	got := m.idToken(nil, claims{"iat": ahead, "exp": ahead + 60})
	got.refused(t, 401)
	date, err := http.ParseTime(got.header.Get("Date"))
	if err != nil || !date.Equal(startTime) {
		t.Fatalf("Date %v, %v; the authority's clock says %v", date, err, startTime)
	}
	m.idToken(nil, claims{"iat": date.Unix(), "exp": date.Unix() + 60}).decode(t, 200, &idTokenResponse{})
}
